//! One conversation with the CLI, from its start to its end.
//!
//! The group's session lives as long as the guest; an isolated one lives for one
//! task. Both are this one task: it takes commands, watches one CLI, and tells
//! the host what came of each turn. What a frame means for the turns is
//! [`super::book`]'s to say.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::archive;
use super::book::{Book, Ended, Next, Stop};
use super::cli::Cli;
use super::failure::{Failure, plain};
use super::frames::{self, Frame, RunEnd};
use super::images;
use super::shared::{Command, Kind, Shared};
use crate::ids::TurnId;
use crate::ipc::record::GuestRecord;

/// How long the CLI may take to answer `initialize`.
const START: Duration = Duration::from_secs(60);
/// How long an interrupted run may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the clock is looked at while turns are open.
const TICK: Duration = Duration::from_millis(250);
/// The id of our first control request.
const INITIALIZE: &str = "initialize";
/// Put before the first prompt when the session could not be resumed.
const FORGOTTEN: &str = "[Note: the earlier conversation could not be resumed, so you do not remember it. Your files \
                         are as you left them, and read_history gives older messages.]\n\n";

/// Runs a session to its end. An error has been told to the host already.
pub async fn run(
    shared: Rc<Shared>,
    kind: Kind,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> Result<(), Failure> {
    let resume = shared.start.session_id.clone().filter(|_| kind == Kind::Group);
    let (failure, mut turns) = match open(&shared, &kind.tag(), resume.as_deref()) {
        Err(failure) => (failure, Vec::new()),
        Ok(cli) => {
            let mut session = Session::new(&shared, &kind, resume, cli);
            match session.work(&mut commands).await {
                Ok(()) => {
                    session.cli.end().await;
                    return Ok(());
                }
                Err(failure) => {
                    let turns = session.book.take_all();
                    session.cli.kill().await;
                    (failure, turns)
                }
            }
        }
    };
    // Turns that arrived but were not looked at end with the others.
    commands.close();
    while let Ok(command) = commands.try_recv() {
        if let Command::Turn(turn) = command {
            turns.push(turn.turn);
        }
    }
    if kind == Kind::Group || !turns.is_empty() {
        shared.fail(turns, failure.clone()).await;
    }
    Err(failure)
}

/// Starts the CLI and says the first word.
fn open(shared: &Shared, tag: &str, resume: Option<&str>) -> Result<Cli, Failure> {
    let cannot =
        |e: std::io::Error| Failure::retry(format!("The agent's CLI cannot be started: {e}"));
    let launch = shared.place.launch(&shared.start, tag, resume, shared.port).map_err(cannot)?;
    let cli = Cli::spawn(&launch, tag).map_err(cannot)?;
    cli.send(frames::initialize(INITIALIZE, &shared.place.system_prompt(&shared.start)));
    Ok(cli)
}

struct Session<'a> {
    shared: &'a Shared,
    kind: &'a Kind,
    tag: String,
    cli: Cli,
    book: Book,
    /// The id that the present process was asked to resume.
    resume: Option<String>,
    /// Since when `initialize` has not been answered.
    starting: Option<Instant>,
    /// The next prompt begins with [`FORGOTTEN`].
    forgotten: bool,
    reported: Option<String>,
    background: HashSet<String>,
    /// The CLI lists its background tasks, so that we need not count.
    lists: bool,
    closing: bool,
    controls: u32,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, kind: &'a Kind, resume: Option<String>, cli: Cli) -> Self {
        Session {
            shared,
            kind,
            tag: kind.tag(),
            cli,
            book: Book::default(),
            resume,
            starting: Some(Instant::now()),
            forgotten: false,
            reported: None,
            background: HashSet::new(),
            lists: false,
            closing: false,
            controls: 0,
        }
    }

    /// Until it may be closed.
    async fn work(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Failure> {
        loop {
            self.give().await;
            if self.closing && self.book.is_empty() {
                return Ok(());
            }
            let watched = self.starting.is_some() || !self.book.is_empty();
            tokio::select! {
                command = commands.recv() => self.obey(command.unwrap_or(Command::Close)).await?,
                frame = self.cli.frame() => match frame {
                    Some(frame) => self.hear(frame).await?,
                    None => return Err(self.died().await),
                },
                () = tokio::time::sleep(TICK), if watched => self.tick().await?,
            }
        }
    }

    /// Gives the CLI what it may have now.
    async fn give(&mut self) {
        while self.starting.is_none()
            && let Some(next) = self.book.give()
        {
            match next {
                Next::Known(turn) => self.done(vec![turn], None).await,
                Next::Give(turn) => {
                    let note = if std::mem::take(&mut self.forgotten) { FORGOTTEN } else { "" };
                    let mut text = format!("{note}{}", turn.prompt);
                    let images = images::blocks(&self.shared.place, &turn.images, &mut text);
                    self.cli.send(frames::user(&turn.uuid, &text, images));
                }
            }
        }
        if let Some(turn) = self.book.latest() {
            self.shared.tools.works_on(&self.tag, turn);
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Turn(turn) => self.book.add(turn),
            Command::Close => self.closing = true,
            Command::Abort(failure) => return Err(failure),
            Command::Interrupt(turn) => match self.book.stop(turn, Instant::now()) {
                Stop::Removed => self.shared.fail(vec![turn], Failure::interrupted()).await,
                Stop::Interrupt => self.control(json!({"subtype": "interrupt"})),
                Stop::TakeBack(uuid) => {
                    self.control(json!({"subtype": "cancel_async_message", "message_uuid": uuid}));
                }
                Stop::Unknown => {}
            },
        }
        Ok(())
    }

    async fn hear(&mut self, frame: Frame) -> Result<(), Failure> {
        match frame {
            Frame::Answer { id, result } if id == INITIALIZE => return self.started(result).await,
            Frame::Answer { .. } | Frame::Other => {}
            Frame::Init { session, tools } => {
                self.book.run_begins();
                // `pending` is told before the server has answered; what counts
                // is that it did not fail.
                if !matches!(tools.as_deref(), Some("connected" | "pending")) {
                    let how = tools.unwrap_or_else(|| "absent".into());
                    return Err(Failure::retry(format!(
                        "The agent's own tools did not start ({}).",
                        plain(&how, 80)
                    )));
                }
                self.learn(session).await;
            }
            Frame::Result(end) if self.is_unknown_session(&end) => self.start_afresh()?,
            Frame::Result(end) => self.result(end).await,
            Frame::Lifecycle { uuid, state } => {
                let stopped = self.book.is_stopped(&uuid);
                let (over, stop_now) = self.book.lifecycle(&uuid, state, Instant::now());
                match over {
                    Some(turn) if stopped => {
                        self.shared.fail(vec![turn], Failure::interrupted()).await
                    }
                    Some(turn) => self.done(vec![turn], None).await,
                    None if stop_now => self.control(json!({"subtype": "interrupt"})),
                    None => {}
                }
            }
            Frame::ApiRetry { status, error } => {
                // The CLI takes a refused credential for an overload and would
                // try for minutes.
                if matches!(status, Some(401 | 403)) || error == "authentication_failed" {
                    self.control(json!({"subtype": "interrupt"}));
                    let turns = self.book.end_run();
                    if !turns.is_empty() {
                        self.shared.fail(turns, Failure::credential(status)).await;
                    }
                }
            }
            Frame::Background(tasks) => {
                self.lists = true;
                self.set_background(tasks.into_iter().collect()).await;
            }
            Frame::Task(id, begins) if !self.lists => {
                let mut tasks = self.background.clone();
                if begins {
                    tasks.insert(id)
                } else {
                    tasks.remove(&id)
                };
                self.set_background(tasks).await;
            }
            Frame::Task(..) => {}
            Frame::Ask { id, request } => self.ask(id, &request),
        }
        Ok(())
    }

    async fn started(&mut self, answer: Result<Value, String>) -> Result<(), Failure> {
        let answer = answer.map_err(|e| {
            Failure::retry(format!("The agent's CLI refused to start: {}", plain(&e, 300)))
        })?;
        self.starting = None;
        if *self.kind == Kind::Group {
            let version = answer["claude_code_version"].as_str().unwrap_or("unknown").to_owned();
            self.shared.tell(GuestRecord::Ready { cli_version: version }).await;
        }
        Ok(())
    }

    fn is_unknown_session(&self, end: &RunEnd) -> bool {
        self.resume.is_some() && end.is_error && end.text.contains("No conversation found")
    }

    /// Nothing was given to the present process, so nothing is lost with it.
    fn start_afresh(&mut self) -> Result<(), Failure> {
        self.resume = None;
        self.forgotten = true;
        self.starting = Some(Instant::now());
        let old = std::mem::replace(&mut self.cli, open(self.shared, &self.tag, None)?);
        // It is on its way out by itself and shares its tag with the new one.
        drop(old);
        Ok(())
    }

    async fn learn(&mut self, session: String) {
        if *self.kind == Kind::Group
            && self.reported.as_ref() != Some(&session)
            && let Some(turn) = self.book.latest()
        {
            self.reported = Some(session.clone());
            self.shared.tell(GuestRecord::Session { turn, session_id: session }).await;
        }
    }

    async fn result(&mut self, end: RunEnd) {
        match self.book.result(&end) {
            Ended::Turns { turns, interrupted } if end.is_error => {
                let failure = if interrupted { Failure::interrupted() } else { Failure::of(&end) };
                self.shared.fail(turns, failure).await;
            }
            Ended::Turns { turns, .. } => self.done(turns, Some(end.text)).await,
            // An error of a run that nobody asked for is nobody's answer.
            Ended::SelfStarted
                if !end.is_error && !end.text.trim().is_empty() && *self.kind == Kind::Group =>
            {
                self.shared.tell(GuestRecord::Text { uuid: end.uuid, text: end.text }).await;
            }
            Ended::SelfStarted | Ended::Nothing => {}
        }
    }

    async fn done(&mut self, turns: Vec<TurnId>, text: Option<String>) {
        let text = text.filter(|t| !t.trim().is_empty());
        self.shared.tell(GuestRecord::Done { turns, text }).await;
        // An isolated session is there for one turn.
        self.closing |= *self.kind != Kind::Group;
    }

    async fn set_background(&mut self, tasks: HashSet<String>) {
        let changed = tasks.len() != self.background.len();
        self.background = tasks;
        if changed && *self.kind == Kind::Group {
            let background = u32::try_from(self.background.len()).unwrap_or(u32::MAX);
            self.shared.tell(GuestRecord::State { background }).await;
        }
    }

    /// Answers the CLI. It waits for each answer, so an unknown question gets a
    /// no at once.
    fn ask(&mut self, id: String, request: &Value) {
        let archive = request["subtype"] == "hook_callback"
            && request["input"]["hook_event_name"] == "PreCompact";
        if !archive {
            self.cli.send(frames::answer(&id, Err("not supported")));
            return;
        }
        let transcript =
            request["input"]["transcript_path"].as_str().unwrap_or_default().to_owned();
        let group = self.shared.place.group();
        let (name, zone) =
            (self.shared.start.assistant_name.clone(), self.shared.start.timezone.clone());
        let Some(sender) = self.cli.sender() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(e) =
                archive::write(transcript.as_ref(), &group, &name, &zone, chrono::Utc::now())
            {
                eprintln!("[agent] the conversation was not archived: {e}");
            }
            let _ = sender.send(frames::answer(&id, Ok(json!({}))));
        });
    }

    fn control(&mut self, request: Value) {
        self.controls += 1;
        self.cli.send(frames::control(&format!("c{}", self.controls), request));
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.starting.is_some_and(|since| now.duration_since(since) >= START) {
            return Err(Failure::retry(format!(
                "The agent's CLI did not start within {} s.",
                START.as_secs()
            )));
        }
        if self.book.is_stuck(now, PATIENCE) {
            return Err(Failure::retry("The agent did not react to an interrupt and was stopped."));
        }
        let overdue = self.book.overdue(now);
        if !overdue.is_empty() {
            self.done(overdue, None).await;
        }
        Ok(())
    }

    /// Its output ended: why, as far as it tells.
    async fn died(&mut self) -> Failure {
        let (status, tail) = self.cli.post_mortem().await;
        let how = status.map_or_else(|| "it closed its output".to_owned(), |s| s.to_string());
        let said =
            if tail.trim().is_empty() { String::new() } else { format!(": {}", plain(&tail, 300)) };
        Failure::retry(format!("The agent's CLI ended unexpectedly ({how}){said}"))
    }
}
