//! The guest's main loop: mailbox in, sessions in the middle, mailbox out.
//!
//! It knows which session a record is for and nothing of what happens there. Its
//! lifeline is standard input: when that closes the host is gone, and everything
//! here ends at once.

use std::collections::HashMap;
use std::io::Read;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, LocalSet, spawn_local};

use super::failure::Failure;
use super::place::Place;
use super::session;
use super::shared::{Command, ISOLATED, Kind, Shared};
use super::tools::Tools;
use super::{processes, relay, script};
use crate::ids::TurnId;
use crate::ipc::guest::{Inbox, Outbox};
use crate::ipc::record::{GuestRecord, HostRecord, Session, Start, Turn, TurnKind};

/// How often the mailbox is looked at without being told.
const POLL: Duration = Duration::from_millis(100);
/// How often dead orphans are removed.
const REAP: Duration = Duration::from_secs(10);

/// Runs the guest to its end: success when the host closed it, failure when its
/// CLI could not go on or the host has gone. Builds its own runtime.
pub fn run() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = LocalSet::new().block_on(&runtime, live());
    runtime.shutdown_background();
    code
}

async fn live() -> anyhow::Result<ExitCode> {
    processes::adopt_orphans();
    let (nudge, gone) = lifeline();
    let mut terminate = signal(SignalKind::terminate())?;
    let code = tokio::select! {
        code = work(nudge) => code,
        _ = gone => Ok(ExitCode::FAILURE),
        // As the first process of a container we would otherwise not hear it.
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
    };
    processes::kill_all(processes::descendants).await;
    code
}

/// Watches standard input: each byte nudges, the end is told once. A thread, for
/// a read of standard input cannot be given up.
fn lifeline() -> (Arc<Notify>, oneshot::Receiver<()>) {
    let nudge = Arc::new(Notify::new());
    let (tell, gone) = oneshot::channel();
    let nudged = Arc::clone(&nudge);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(1..) = std::io::stdin().read(&mut bytes) {
            nudged.notify_one();
        }
        let _ = tell.send(());
    });
    (nudge, gone)
}

async fn work(nudge: Arc<Notify>) -> anyhow::Result<ExitCode> {
    let place = Place::from_env()?;
    place.prepare()?;
    let mut inbox = Inbox::new(place.inbox());
    let (out, records) = mpsc::channel(64);
    let (stop, stopped) = oneshot::channel();
    let mut writer = spawn_local(write(Outbox::new(place.outbox()), records, stopped));

    let served = tokio::select! {
        served = serve(place, &mut inbox, &nudge, &out) => served,
        written = &mut writer => {
            written??;
            anyhow::bail!("the mailbox was closed");
        }
    };
    if let Err(failure) = &served {
        eprintln!("[agent] {}", failure.error);
    }
    let _ = stop.send(());
    writer.await??;
    Ok(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes records until told to stop, and then what is still there.
async fn write(
    mut outbox: Outbox,
    mut records: mpsc::Receiver<GuestRecord>,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    loop {
        let record = tokio::select! {
            record = records.recv() => record,
            _ = &mut stopped, if !records.is_closed() => {
                records.close();
                continue;
            }
        };
        match record {
            Some(record) => outbox.write(record).await?,
            None => return Ok(()),
        }
    }
}

/// The next record of the host. What is not understood is told, not passed over
/// in silence: it may have been a turn.
async fn next(inbox: &mut Inbox, nudge: &Notify, out: &mpsc::Sender<GuestRecord>) -> HostRecord {
    loop {
        match inbox.read() {
            Some(Ok(record)) => return record,
            Some(Err(bad)) => {
                let _ = out.send(Failure::lasting(bad.to_string()).record(Vec::new())).await;
            }
            None => {
                let _ = tokio::time::timeout(POLL, nudge.notified()).await;
            }
        }
    }
}

/// From `start` to the end of the group's session. A failure has been told.
async fn serve(
    place: Place,
    inbox: &mut Inbox,
    nudge: &Notify,
    out: &mpsc::Sender<GuestRecord>,
) -> Result<(), Failure> {
    let HostRecord::Start(start) = next(inbox, nudge, out).await else {
        return give_up(out, "The first record must be start.".into()).await;
    };
    let mut guest = match Guest::open(place, start, out.clone()).await {
        Ok(guest) => guest,
        Err(e) => return give_up(out, format!("The guest cannot start: {e}")).await,
    };
    let mut reap = tokio::time::interval(REAP);
    loop {
        guest.close_when_possible();
        tokio::select! {
            record = next(inbox, nudge, out) => guest.obey(record),
            Some(over) = guest.asides.join_next() => {
                if let Ok(turn) = over {
                    guest.interrupts.remove(&turn);
                }
            }
            ended = &mut guest.session => {
                let ended = ended.unwrap_or_else(|e| Err(Failure::retry(format!("The guest failed: {e}"))));
                return guest.end(ended).await;
            }
            _ = reap.tick() => processes::reap_orphans(),
        }
    }
}

async fn give_up(out: &mpsc::Sender<GuestRecord>, error: String) -> Result<(), Failure> {
    let failure = Failure::retry(error);
    let _ = out.send(failure.clone().record(Vec::new())).await;
    Err(failure)
}

/// The sessions under way.
struct Guest {
    shared: Rc<Shared>,
    group: mpsc::UnboundedSender<Command>,
    session: JoinHandle<Result<(), Failure>>,
    /// Scripts and isolated sessions: each works on one turn.
    asides: JoinSet<TurnId>,
    /// Held by the isolated session that answers a message: messages are answered
    /// in the order in which they came.
    order: Rc<Mutex<()>>,
    interrupts: HashMap<TurnId, mpsc::UnboundedSender<Command>>,
    closing: bool,
}

impl Guest {
    async fn open(
        place: Place,
        start: Start,
        out: mpsc::Sender<GuestRecord>,
    ) -> std::io::Result<Guest> {
        let port = relay::start(place.proxy()).await?;
        let tools = Tools::new(start.incarnation, out.clone());
        tools.listen(&place.socket())?;
        let places = Semaphore::new(ISOLATED);
        let shared = Rc::new(Shared { place, start, port, tools, out, places });
        let (group, commands) = mpsc::unbounded_channel();
        let session = spawn_local(session::run(Rc::clone(&shared), Kind::Group, commands));
        Ok(Guest {
            shared,
            group,
            session,
            asides: JoinSet::new(),
            order: Rc::default(),
            interrupts: HashMap::new(),
            closing: false,
        })
    }

    /// A group session that does not listen any more is about to end the guest;
    /// the host then finds every turn that we have not ended.
    fn obey(&mut self, record: HostRecord) {
        match record {
            HostRecord::Start(_) => eprintln!("[agent] a second start was ignored"),
            HostRecord::Turn(turn) if turn.session == Session::Group && turn.script.is_none() => {
                let _ = self.group.send(Command::Turn(turn));
            }
            HostRecord::Turn(turn) => {
                let (commands, mut receiver) = mpsc::unbounded_channel();
                self.interrupts.insert(turn.turn, commands.clone());
                let (shared, group, order) =
                    (Rc::clone(&self.shared), self.group.clone(), Rc::clone(&self.order));
                self.asides.spawn_local(async move {
                    let id = turn.turn;
                    let _mine = match turn.kind {
                        TurnKind::Message => tokio::select! {
                            mine = order.lock() => Some(mine),
                            command = receiver.recv() => {
                                shared.fail(vec![id], end_of(command)).await;
                                return id;
                            }
                        },
                        TurnKind::Task => None,
                    };
                    aside(shared, turn, commands, receiver, group).await;
                    id
                });
            }
            HostRecord::Reply { request, ok, result, error } => {
                let outcome = if ok {
                    Ok(result.unwrap_or_default())
                } else {
                    Err(error.unwrap_or_default())
                };
                self.shared.tools.reply(&request, outcome);
            }
            HostRecord::Interrupt { turn } => {
                if let Some(aside) = self.interrupts.get(&turn) {
                    let _ = aside.send(Command::Interrupt(turn));
                }
                let _ = self.group.send(Command::Interrupt(turn));
            }
            HostRecord::Close => self.closing = true,
        }
    }

    /// Asides come first: a script may still have a turn for the group.
    fn close_when_possible(&mut self) {
        if self.closing && self.asides.is_empty() {
            let _ = self.group.send(Command::Close);
        }
    }

    /// The group's session is over, and with it the guest.
    async fn end(&mut self, ended: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(failure) = &ended {
            for aside in self.interrupts.values() {
                let _ = aside.send(Command::Abort(failure.clone()));
            }
        }
        while self.asides.join_next().await.is_some() {}
        ended
    }
}

/// Why a turn that has not begun ends.
fn end_of(command: Option<Command>) -> Failure {
    match command {
        Some(Command::Abort(failure)) => failure,
        _ => Failure::interrupted(),
    }
}

/// A turn with a script, or in a session of its own.
async fn aside(
    shared: Rc<Shared>,
    mut turn: Turn,
    commands: mpsc::UnboundedSender<Command>,
    mut receiver: mpsc::UnboundedReceiver<Command>,
    group: mpsc::UnboundedSender<Command>,
) {
    let kind = Kind::Isolated(turn.turn);
    if let Some(text) = turn.script.take() {
        let tag = kind.tag();
        let env = shared.place.environment(&tag, shared.port);
        let cwd = shared.place.group();
        let woken = tokio::select! {
            woken = script::run(&text, &turn.prompt, &cwd, &env) => woken,
            command = receiver.recv() => {
                processes::kill_all(|| processes::of_session(None, &tag)).await;
                return shared.fail(vec![turn.turn], end_of(command)).await;
            }
        };
        match woken {
            Ok(prompt) => turn.prompt = prompt,
            Err(script::Asleep::Said) => {
                eprintln!("[agent] turn {}: the script let the model sleep", turn.turn);
                return shared.tell(GuestRecord::Done { turns: vec![turn.turn], text: None }).await;
            }
            // What it did it may have done in part; so it is not run again.
            Err(failed) => {
                return shared.fail(vec![turn.turn], Failure::lasting(failed.to_string())).await;
            }
        }
    }
    if turn.session == Session::Group {
        let id = turn.turn;
        if group.send(Command::Turn(turn)).is_err() {
            shared
                .fail(vec![id], Failure::retry("The agent's CLI ended before this turn began."))
                .await;
        }
        return;
    }
    // Each is a CLI of its own, and the container's memory is not without end.
    let place = tokio::select! {
        place = shared.places.acquire() => place,
        command = receiver.recv() => {
            return shared.fail(vec![turn.turn], end_of(command)).await;
        }
    };
    let _ = commands.send(Command::Turn(turn));
    // Only the map of the main loop keeps this session's commands open now.
    drop(commands);
    if let Err(failure) = session::run(Rc::clone(&shared), kind, receiver).await {
        eprintln!("[agent] an isolated session failed: {}", failure.error);
    }
    drop(place);
}
