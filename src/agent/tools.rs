//! The agent's side of a tool call: from the MCP server's socket to a request in
//! the mailbox, and from the host's reply back.
//!
//! One connection is one call: a line with the call, a line with its outcome.
//! The host decides everything; this only finds out to which turn a call belongs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::ids::{Incarnation, TurnId};
use crate::ipc::record::{GuestRecord, MAX_RECORD};

/// How long the host has for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that a call may carry, in bytes: it must fit into a record.
const MAX_CALL: usize = MAX_RECORD - 4096;

/// What the MCP server asks, as one line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// The tag of the CLI's session.
    pub session: String,
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// What came of it, as one line: the host's result or the reason why not.
pub type Outcome = Result<Value, String>;

/// The calls under way, and the turn that each session works on.
#[derive(Debug)]
pub struct Tools {
    incarnation: Incarnation,
    next: Cell<u64>,
    turns: RefCell<HashMap<String, TurnId>>,
    waiting: RefCell<HashMap<String, oneshot::Sender<Outcome>>>,
    out: mpsc::Sender<GuestRecord>,
}

impl Tools {
    /// No calls yet; requests go to `out`.
    pub fn new(incarnation: Incarnation, out: mpsc::Sender<GuestRecord>) -> Rc<Tools> {
        Rc::new(Tools {
            incarnation,
            next: Cell::new(1),
            turns: RefCell::default(),
            waiting: RefCell::default(),
            out,
        })
    }

    /// From now on the calls of session `tag` belong to `turn`.
    pub fn works_on(&self, tag: &str, turn: TurnId) {
        self.turns.borrow_mut().insert(tag.to_owned(), turn);
    }

    /// The host's answer. One that nobody waits for any more is dropped: its
    /// caller has been told that the outcome is unknown.
    pub fn reply(&self, request: &str, outcome: Outcome) {
        if let Some(caller) = self.waiting.borrow_mut().remove(request) {
            let _ = caller.send(outcome);
        }
    }

    /// Listens at `path`, which is ours alone, until the process ends.
    pub fn listen(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        let tools = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let tools = Rc::clone(&tools);
                        tokio::task::spawn_local(async move { tools.serve(stream).await });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(())
    }

    /// A caller that goes away needs no answer, so nothing is reported.
    async fn serve(&self, mut stream: UnixStream) {
        let (read, mut write) = stream.split();
        let mut line = Vec::new();
        let mut limited = BufReader::new(read).take(MAX_CALL as u64 + 1);
        let outcome = match limited.read_until(b'\n', &mut line).await {
            Err(_) => return,
            Ok(_) if line.len() > MAX_CALL => Err("This is too long for one call.".to_owned()),
            Ok(_) => match serde_json::from_slice::<Call>(&line) {
                Ok(call) => self.ask(call, PATIENCE).await,
                Err(e) => Err(format!("This is no call: {e}")),
            },
        };
        if let Ok(mut answer) = serde_json::to_vec(&outcome) {
            answer.push(b'\n');
            let _ = write.write_all(&answer).await;
        }
    }

    async fn ask(&self, call: Call, patience: Duration) -> Outcome {
        let turn = self.turns.borrow().get(&call.session).copied();
        let Some(turn) = turn else {
            return Err("There is no turn that this call could belong to.".into());
        };
        let id = format!("{}-{}", self.incarnation, self.next.replace(self.next.get() + 1));
        let (caller, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id.clone(), caller);
        let request = GuestRecord::Request {
            id: id.clone(),
            turn,
            tool: call.tool,
            arguments: call.arguments,
        };
        let outcome = tokio::time::timeout(patience, async {
            // A closed channel drops the caller's end too; both are the same.
            let _ = self.out.send(request).await;
            answer.await
        });
        match outcome.await {
            Ok(Ok(outcome)) => outcome,
            _ => {
                self.waiting.borrow_mut().remove(&id);
                Err("The host has not answered: the outcome is unknown. Look before you retry."
                    .into())
            }
        }
    }
}

/// The caller's side: one call to the agent that listens at `path`.
pub async fn call(path: &Path, call: &Call) -> io::Result<Outcome> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn request(session: &str, tool: &str) -> Call {
        Call { session: session.into(), tool: tool.into(), arguments: json!({}) }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn calls_run_side_by_side_and_each_gets_its_own_answer() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("agent.sock");
                let (out, mut records) = mpsc::channel(8);
                let tools = Tools::new(Incarnation(7), out);
                tools.listen(&path).unwrap();
                tools.works_on("group", TurnId(1));
                tools.works_on("task-2", TurnId(2));
                let host = async {
                    let mut asked = Vec::new();
                    while asked.len() < 2 {
                        let Some(GuestRecord::Request { id, turn, tool, .. }) =
                            records.recv().await
                        else {
                            panic!()
                        };
                        asked.push((id, turn, tool));
                    }
                    // Answered in the other order than asked.
                    for (id, turn, tool) in asked.iter().rev() {
                        tools.reply(
                            id,
                            if tool == "a" { Ok(json!(turn)) } else { Err(format!("no {turn}")) },
                        );
                    }
                    asked
                };
                let (a, b) = (request("group", "a"), request("task-2", "b"));
                let (first, second, asked) = tokio::join!(call(&path, &a), call(&path, &b), host);
                assert_eq!(first.unwrap(), Ok(json!(1)));
                assert_eq!(second.unwrap(), Err("no 2".into()));
                assert_ne!(asked[0].0, asked[1].0);
                assert!(call(&path, &request("nobody", "a")).await.unwrap().is_err());
                let mut huge = request("group", "a");
                huge.arguments = json!("x".repeat(MAX_RECORD));
                assert!(call(&path, &huge).await.map_or(true, |o| o.is_err()));
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn silence_is_told_as_an_unknown_outcome() {
        let (out, _records) = mpsc::channel(8);
        let tools = Tools::new(Incarnation(1), out);
        tools.works_on("group", TurnId(1));
        let outcome = tools.ask(request("group", "a"), Duration::from_millis(20)).await;
        assert!(outcome.unwrap_err().contains("Look before you retry"));
        assert!(tools.waiting.borrow().is_empty());
    }
}
