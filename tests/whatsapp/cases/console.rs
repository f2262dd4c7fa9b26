//! The server run by hand, as a script would.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use whatsapp_rust::Jid;
use whatsapp_rust::wacore::store::InMemoryBackend;

use super::client::Device;

#[tokio::test]
async fn the_console_plays_phones() {
    let Some(mut console) = Console::start() else { return };
    let listening = console.line("listening").await;
    for (number, name) in [("4915700000001", "Anna"), ("4915700000002", "Bert")] {
        console.tell(json!({ "do": "person", "number": number, "name": name })).await;
        console.line("person").await;
    }
    let store = Arc::new(InMemoryBackend::new());
    let (url, files) = (&listening["url"], &listening["media"]);
    let (url, files) = (url.as_str().unwrap(), files.as_str().unwrap());
    let mut device = Device::at(url, files, store, None, None).await;
    let code = device.code().await;
    console.tell(json!({ "do": "scan", "who": "4915700000001", "code": code })).await;
    assert_eq!(console.line("linked").await["device"], 1);
    device.connected().await;

    let to = "4915700000001";
    console.tell(json!({ "do": "send", "who": "4915700000002", "to": to, "text": "hi" })).await;
    device.text("hi").await;
    device.say(&Jid::pn("4915700000002"), "hi yourself").await;
    let shown = loop {
        let shown = console.line("shown").await;
        if shown["who"] == "4915700000002" {
            break shown;
        }
    };
    assert_eq!(shown["text"], "hi yourself");
    console.tell(json!({ "do": "fly" })).await;
    assert!(console.line("error").await["error"].as_str().unwrap().contains("fly"));
}

struct Console {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Console {
    /// `None`, said aloud, where the example was not built: `cargo test` builds it, a
    /// single test does not. In CI that is a failure.
    fn start() -> Option<Console> {
        let mut program: PathBuf = std::env::current_exe().unwrap();
        program.pop();
        program.set_file_name("examples");
        program.push("whatsapp");
        if !program.exists() {
            assert!(std::env::var_os("CI").is_none(), "{} is not built", program.display());
            println!("skipped: cargo build --features test-server --example whatsapp");
            return None;
        }
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Console { input, output, _child: child })
    }

    async fn tell(&mut self, line: Value) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line that tells of such an event.
    async fn line(&mut self, event: &str) -> Value {
        let search = async {
            loop {
                let line = self.output.next_line().await.unwrap().expect("the console ended");
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["event"] == event {
                    return line;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), search).await;
        found.unwrap_or_else(|_| panic!("the console told of no {event}"))
    }
}
