//! What a day may cost: counted, told, and kept to.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::api::{Act, Api};
use support::{Client, Home, eventually};

/// Enters that a group has spent so much today, dollars, as if the model had.
fn spend(home: &Home, folder: &str, dollars: f64) {
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let day = chrono::Utc::now().with_timezone(&chrono_tz::Europe::Berlin).date_naive();
    c.execute(
        "INSERT OR REPLACE INTO usage (day, folder, model, cost) VALUES (?1, ?2, 'of the test', ?3)",
        rusqlite::params![day.to_string(), folder, (dollars * 1e6) as i64],
    )
    .unwrap();
}

/// Leaves a program behind that asks the model all the time.
const ASKS_FOR_EVER: &str = r#"cat > ask.sh <<'END'
b=${ANTHROPIC_BASE_URL#http://}
while :; do
  (exec 3<>/dev/tcp/${b%:*}/${b#*:}
   printf 'POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: %s\r\nconnection: close\r\n' "$ANTHROPIC_API_KEY" >&3
   printf 'content-length: 13\r\n\r\n{"model":"x"}' >&3
   cat <&3)
  sleep 0.1
done
END
setsid bash ask.sh >/dev/null 2>&1 &
echo begun"#;

fn texts(client: &Client, part: &str) -> usize {
    client.heard(|h| h.sends.iter().filter(|s| s.2.contains(part)).count())
}

#[test]
fn a_spent_budget_stops_what_runs_keeps_what_waits_and_says_so() {
    let mut home = Home::new();
    home.set("NANOCLAW_BUDGET", "1");
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "first");
    client.answer("t:1", "first");
    spend(&home, "family", 0.85);
    client.message("t:1", "b", "second");
    client.answer("t:1", "second");
    client.answer("t:1", "$0.85 of the budget for today ($1.00) are spent");
    client.message("t:1", "c", "think:8000 third");
    eventually("the third to run", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'running'") == 1
    });
    spend(&home, "family", 1.0);
    client.answer("t:1", "The budget for today ($1.00) is spent");
    eventually("the third to wait again", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'queued' AND cost = 0") == 1
    });
    client.message("t:1", "d", "fourth");
    client.acked("d");
    let (_, out, _) = home.run(&["status"]);
    assert!(out.contains("! today's budget ($1.00) is spent"), "{out}");
    // Killed and begun anew it holds.
    daemon.kill();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "e", "fifth");
    client.acked("e");
    support::pause(std::time::Duration::from_millis(2_500));
    assert_eq!(texts(&client, "fourth") + texts(&client, "fifth") + texts(&client, "third"), 0);
    assert_eq!(texts(&client, "is spent"), 0, "it was said before");
    // As if the owner had raised it, or midnight had passed.
    spend(&home, "family", 0.1);
    for part in ["third", "fourth", "fifth"] {
        client.answer("t:1", part);
    }
}

#[test]
fn a_group_s_own_budget_holds_it_alone_and_main_hears_of_it() {
    let home = Home::new();
    home.add_group("family", "t:1");
    home.add_group("work", "t:2");
    let (code, _, error) = home.run(&["groups", "set", "family", "--budget", "0.50"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let terminal = Client::connect(&home, "terminal:");
    spend(&home, "family", 0.5);
    client.message("t:1", "a", "hello family");
    client.answer("t:1", "This group's budget for today ($0.50) is spent");
    terminal.answer("terminal:main", "The group family has spent its budget");
    client.message("t:2", "b", "hello work");
    client.answer("t:2", "hello work");
    assert_eq!(home.states().get("queued"), Some(&1));
    let (_, out, _) = home.run(&["usage"]);
    assert!(out.contains("family today $0.50 of $0.50"), "{out}");
    assert_eq!(home.run(&["groups", "set", "family", "--budget", "none"]).0, 0);
    client.answer("t:1", "hello family");
    for bad in ["0", "-1", "much"] {
        assert_eq!(home.run(&["groups", "set", "family", "--budget", bad]).0, 2, "{bad}");
    }
}

#[test]
fn a_program_in_a_container_asks_the_model_nothing_once_the_budget_is_spent() {
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Bash(ASKS_FOR_EVER.into()));
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", &api.url());
    home.set("NANOCLAW_BUDGET", "1000");
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello");
    client.wait("the end", |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == "a"));
    let asked = || api.asked().len();
    let before = asked();
    eventually("the program to ask by itself", || asked() > before + 5);
    spend(&home, "family", 1000.0);
    eventually("silence", || {
        let before = asked();
        support::pause(std::time::Duration::from_secs(1));
        asked() == before
    });
    let before = asked();
    spend(&home, "family", 1.0);
    eventually("the same program to be heard again", || asked() > before);
}

#[test]
fn what_the_model_says_it_used_is_priced_counted_and_shown() {
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Say("done"));
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", &api.url());
    home.set("NANOCLAW_MODEL", "claude-opus-5-5");
    home.add_group("family", "t:1");
    std::fs::create_dir_all(home.path().join(".config/nanoclaw")).unwrap();
    let prices = r#"{"claude": {"input": 100000, "output": 0}}"#;
    std::fs::write(home.path().join(".config/nanoclaw/prices.json"), prices).unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello");
    client.answer("t:1", "done");
    client.wait("the end", |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == "a"));
    // Each answer of the stand-in takes five tokens.
    let asked = || api.asked().iter().filter(|a| a.head.starts_with("POST /v1/messages?")).count();
    let usage = || -> Value { serde_json::from_str(&home.run(&["usage", "--json"]).1).unwrap() };
    eventually("all to be entered", || {
        usage()["spent_today"].as_i64().unwrap() == 500_000 * asked() as i64
    });
    let usage = usage();
    let lines = usage["lines"].as_array().unwrap();
    assert!(lines.iter().all(|l| l["group"] == "family"), "{usage}");
    assert!(lines.iter().any(|l| l["model"] == "claude-opus-5-5"), "{usage}");
    let read: i64 = lines.iter().map(|l| l["tokens"]["input"].as_i64().unwrap()).sum();
    assert_eq!(read, 5 * asked() as i64);
    let (_, out, _) = home.run(&["explain", "a"]);
    assert!(out.contains('$'), "{out}");
}
