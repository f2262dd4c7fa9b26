//! One whole turn: the real daemon, the real Claude Code, the practice model.

use serde_json::Value;

use crate::sandbox::{Kind, engines};
use crate::support::{Client, Home};

pub fn a_turn_with_the_real_cli_and_the_practice_model(kind: Kind) {
    let Some(mut home) = Home::with_real_cli() else { return };
    if kind == Kind::Bwrap {
        home.set("CONTAINER_RUNTIME", "bwrap");
    } else {
        let (dialect, program) = match engines::program(kind) {
            Ok(found) => found,
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
                return println!("skipped: {why}");
            }
        };
        home.set("CONTAINER_RUNTIME", dialect.program());
        home.set("CONTAINER_IMAGE", engines::IMAGE);
        let path = std::env::var("PATH").unwrap();
        home.set("PATH", &format!("{}:{path}", program.parent().unwrap().display()));
    }
    let daemon = home.start();
    home.add_group("family", "demo:family");
    let client = Client::connect(&home, "demo:");
    client.message("demo:family", "m1", "remember that the bins go out on Tuesday");
    println!("{}", client.answer("demo:family", "bins go out on Tuesday"));
    client.message("demo:family", "m2", "what do you remember?");
    println!("{}", client.answer("demo:family", "- the bins go out on Tuesday"));
    let (_, status, _) = home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    println!("{}", status["isolation"]);
    assert_eq!(status["containers"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.stop(), 0);
    let dead: i64 = home.ledger("SELECT count(*) FROM incarnations WHERE state <> 'dead'");
    assert_eq!(dead, 0, "the drain ended it");
}
