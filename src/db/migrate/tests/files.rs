//! The JSON files of the first days.

use super::*;

#[test]
fn the_files_of_the_first_days_are_imported_and_retired_after_the_commit() {
    let old = Old::bare();
    old.c
        .execute_batch(
            "CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT);
             CREATE TABLE messages (id TEXT, chat_jid TEXT, sender TEXT, content TEXT, timestamp TEXT, is_from_me INTEGER,
                PRIMARY KEY (id, chat_jid), FOREIGN KEY (chat_jid) REFERENCES chats(jid));
             INSERT INTO chats VALUES ('m', 'Me', 't'), ('__group_sync__', '__group_sync__', 't');
             INSERT INTO messages VALUES ('1', 'm', 'ann', 'old', '2026-01-10T10:00:00.000Z', 0),
                ('2', 'm', 'ann', 'new', '2026-01-10T11:00:00.000Z', 0);",
        )
        .unwrap();
    old.json(
        "router_state.json",
        r#"{"last_timestamp":"x","last_agent_timestamp":{"m":"2026-01-10T10:30:00.000Z"}}"#,
    );
    old.json("sessions.json", r#"{"main":"abc"}"#);
    old.json(
        "registered_groups.json",
        r#"{"m":{"name":"Me","folder":"main","trigger":"@Andy","added_at":"t"},
            "n":{"name":"Second","folder":"main","trigger":"@Andy","added_at":"t"},
            "o":{"name":"O","folder":"o","trigger":"@O","added_at":"t","containerConfig":{"timeout":7},"requiresTrigger":false}}"#,
    );
    old.upgrade().unwrap();
    assert_eq!(old.states(), ["1=answered", "2=queued"]);
    assert_eq!(old.all("SELECT sender_name FROM messages WHERE id = '2'"), ["ann"]);
    assert_eq!(
        old.all("SELECT folder || is_main || requires_trigger || COALESCE(container_config, '') FROM groups ORDER BY 1"),
        ["main11", "o00{\"timeout\":7}"]
    );
    assert_eq!(
        old.all("SELECT jid FROM chats WHERE folder = 'main' ORDER BY 1"),
        ["m", "n"],
        "quirk 15"
    );
    assert_eq!(old.all("SELECT session_id FROM sessions"), ["abc"]);
    let data = old.dir.path().join("data");
    for name in ["router_state.json", "sessions.json", "registered_groups.json"] {
        assert!(
            !data.join(name).exists() && data.join(format!("{name}.migrated")).exists(),
            "{name}"
        );
    }
    assert!(old.report().files.is_empty());
}

#[test]
fn a_crash_before_the_files_are_renamed_is_made_good_at_the_next_start() {
    let old = Old::bare();
    old.json("sessions.json", r#"{"main":"abc"}"#);
    upgrade(&old.c, Some(&old.origin()), None).unwrap();
    let file = old.dir.path().join("data/sessions.json");
    assert!(file.exists());
    old.c.execute_batch("UPDATE sessions SET session_id = 'later'").unwrap();
    old.upgrade().unwrap();
    assert!(!file.exists());
    assert_eq!(old.all("SELECT session_id FROM sessions"), ["later"], "and not read again");
}

#[test]
fn a_file_that_cannot_be_read_stops_the_upgrade_and_everything_stays() {
    let old = Old::last();
    old.json("sessions.json", r#"{"main":"abc"}"#);
    old.json("registered_groups.json", r#"{"m":"#);
    let refused = old.upgrade().unwrap_err().to_string();
    assert!(
        refused.contains("registered_groups.json") && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert_eq!((version(&old.c).unwrap(), old.backups()), (0, 0));
    assert!(old.dir.path().join("data/sessions.json").exists());
    assert_eq!(old.all("SELECT folder FROM registered_groups"), ["family"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None, cases: 64, ..Default::default()
    })]

    /// Files of 1.x that somebody edited, or that a crash cut.
    #[test]
    fn a_file_of_1x_is_imported_or_stops_the_upgrade_with_everything_in_place(
        at in 0..220_usize, remove in 0..9_usize, insert in "[\"{}\\[\\],:a0nul\u{0}]{0,6}",
    ) {
        let old = Old::last();
        let json = r#"{"m":{"name":"Me","folder":"second","trigger":"@Andy","added_at":"t","containerConfig":{"timeout":7},"requiresTrigger":false},"n":{"folder":"third"}}"#;
        let at = at.min(json.len());
        let end = (at + remove).min(json.len());
        let text = format!("{}{insert}{}", &json[..at], &json[end..]);
        old.json("registered_groups.json", &text);
        let upgraded = old.upgrade();
        let there = old.dir.path().join("data/registered_groups.json").exists();
        match upgraded {
            Ok(_) => proptest::prop_assert!(!there && version(&old.c).unwrap() > 0, "{}", text),
            Err(error) => {
                proptest::prop_assert!(there && version(&old.c).unwrap() == 0, "{}", text);
                proptest::prop_assert!(error.to_string().contains("nothing was changed"), "{}", error);
            }
        }
    }
}
