//! Everything that reads what others wrote, with what nobody would write: it never
//! panics, it refuses or reads, and what it reads it does not lose.
//!
//! Inputs that once failed are kept in `tests/properties.regressions` and tried
//! first. `PROPTEST_CASES` makes it longer.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "properties/heads.rs"]
mod heads;
#[path = "properties/inputs.rs"]
mod inputs;
#[path = "properties/rights.rs"]
mod rights;
#[path = "properties/schedules.rs"]
mod schedules;
#[path = "properties/texts.rs"]
mod texts;

use inputs::{config, json, near};
use nanoclaw::agent::frames::{self, Frame};
use nanoclaw::config::dotenv;
use nanoclaw::container::mounts::{self, Allowlist, Place};
use nanoclaw::ids::{Folder, TurnId};
use nanoclaw::ipc::legacy::LegacyRecord;
use nanoclaw::ipc::record::{GuestRecord, HostRecord};
use nanoclaw::router::allowlist::SenderAllowlist;
use proptest::prelude::*;
use serde_json::{Value, json};

const RECORDS: &[&str] = &[
    r#"{"type":"ready","cli_version":"2"}"#,
    r#"{"type":"session","turn":42,"session_id":"s"}"#,
    r#"{"type":"done","turns":[42,43],"text":"hi"}"#,
    r#"{"type":"failed","turns":[42],"error":"no","retryable":true}"#,
    r#"{"type":"text","uuid":"u","text":"hi"}"#,
    r#"{"type":"state","background":0}"#,
    r#"{"type":"request","id":"r","turn":42,"tool":"send_message","arguments":{"text":"hi"}}"#,
    r#"{"type":"turn","turn":42,"attempt":1,"uuid":"u","kind":"message","session":"group","deadline_ms":1,"prompt":"p","script":null}"#,
    r#"{"type":"reply","request":"r","ok":false,"error":"no"}"#,
];

const FRAMES: &[&str] = &[
    r#"{"type":"result","subtype":"success","is_error":false,"result":"hi","uuid":"r","user_message_uuids":["u"]}"#,
    r#"{"type":"system","subtype":"init","session_id":"s","mcp_servers":[{"name":"nanoclaw","status":"connected"}]}"#,
    r#"{"type":"command_lifecycle","command_uuid":"u","state":"queued"}"#,
    r#"{"type":"control_request","request_id":"1","request":{"subtype":"hook_callback"}}"#,
    r#"{"type":"control_response","response":{"subtype":"success","request_id":"1","response":{}}}"#,
    r#"{"type":"system","subtype":"background_tasks_changed","tasks":[{"task_id":"t"}]}"#,
    r#"{"type":"system","subtype":"api_retry","error_status":529,"error":"overloaded"}"#,
];

const LEGACY: &[&str] = &[
    r#"{"type":"message","chatJid":"1@g.us","text":"hi"}"#,
    r#"{"type":"schedule_task","prompt":"p","schedule_type":"cron","schedule_value":"0 9 * * *","targetJid":"1@g.us"}"#,
    r#"{"type":"update_task","taskId":"t","prompt":"p"}"#,
    r#"{"type":"register_group","jid":"1","name":"N","folder":"f","trigger":"@A","requiresTrigger":false}"#,
    r#"{"type":"refresh_groups"}"#,
];

const SENDERS: &[&str] = &[
    r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"t:1":{"allow":["ann"],"mode":"drop"}},"logDenied":true}"#,
    r#"{"default":{"allow":["ann"],"mode":"drop"},"chats":{}}"#,
];

const MOUNTS: &[&str] = &[
    r#"{"allowedRoots":[{"path":"ROOT","allowReadWrite":true}],"blockedPatterns":["secret"],"nonMainReadOnly":false}"#,
    r#"{"allowedRoots":[{"path":"~","allowReadWrite":true}],"blockedPatterns":[],"nonMainReadOnly":true}"#,
];

const ASKED: &[&str] = &[
    r#"{"additionalMounts":[{"hostPath":"ROOT/photos","containerPath":"photos","readonly":false}]}"#,
    r#"{"additionalMounts":[{"hostPath":"~/notes"},{"hostPath":"ROOT/../..","containerPath":"../up"}],"timeout":5}"#,
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_record_is_read_as_it_was_written_or_refused(bytes in near(RECORDS)) {
        if let Ok(record) = serde_json::from_slice::<GuestRecord>(&bytes) {
            let again = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<GuestRecord>(&again).unwrap(), record);
        }
        if let Ok(record) = serde_json::from_slice::<HostRecord>(&bytes) {
            let again = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<HostRecord>(&again).unwrap(), record);
        }
    }

    #[test]
    fn a_record_loses_nothing_of_its_text(text in ".{0,300}", turns in prop::collection::vec(any::<i64>(), 0..5), arguments in json()) {
        let turns: Vec<TurnId> = turns.into_iter().map(TurnId).collect();
        let turn = turns.first().copied().unwrap_or(TurnId(0));
        for record in [
            GuestRecord::Done { turns, text: Some(text.clone()) },
            GuestRecord::Request { id: text.clone(), turn, tool: text, arguments },
        ] {
            let bytes = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<GuestRecord>(&bytes).unwrap(), record);
        }
    }

    #[test]
    fn a_frame_of_the_cli_is_read_or_is_other(bytes in near(FRAMES)) {
        frames::parse(&bytes);
    }

    #[test]
    fn the_answer_in_a_frame_is_whole(text in ".{0,300}", uuids in prop::collection::vec(".{0,9}", 0..4)) {
        let line = json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "uuid": "r",
            "user_message_uuids": uuids});
        let Frame::Result(end) = frames::parse(line.to_string().as_bytes()) else { panic!("no result") };
        prop_assert_eq!((end.text, end.named), (text, Some(uuids)));
    }

    #[test]
    fn a_record_by_hand_is_a_known_call_or_refused(bytes in near(LEGACY)) {
        let _ = LegacyRecord::message(&bytes);
        if let Ok(LegacyRecord::Task(task)) = LegacyRecord::task(&bytes)
            && let Some((tool, arguments)) = task.call()
        {
            let known = ["schedule_task", "pause_task", "resume_task", "cancel_task", "update_task", "register_group"];
            prop_assert!(known.contains(&tool.as_str()));
            prop_assert!(arguments.as_object().unwrap().values().all(|v| !v.is_null()));
        }
    }

    #[test]
    fn a_settings_file_is_read_or_refused_without_repeating_it(bytes in near(&["A=1\n# c\nTZ='Europe/Berlin'\n", "KEY=\"sk-ant-secret-value\"\n"])) {
        match dotenv::parse(&bytes) {
            Ok(values) => prop_assert!(values.iter().all(|(n, v)| !n.is_empty() && !v.is_empty() && !v.contains('\n'))),
            Err(error) => prop_assert!(!error.to_string().contains("secret")),
        }
    }

    #[test]
    fn a_setting_is_what_was_written(name in "[A-Z_]{1,20}", value in "[^\\s'\"\0][^\n\0]{0,40}[^\\s'\"\0]") {
        let file = format!("# before\r\n  {name} = \"{value}\"  \r\n");
        prop_assert_eq!(dotenv::parse(file.as_bytes()).unwrap().remove(&name), Some(value));
    }

    #[test]
    fn who_may_wake_the_assistant_is_nobody_where_the_file_is_broken(bytes in near(SENDERS), sender in "[a-z]{0,4}") {
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let list = SenderAllowlist::parse(&text);
        if serde_json::from_str::<Value>(&text).is_err() {
            prop_assert!(list.problem().is_some());
            prop_assert!(!list.may_trigger("t:1", &sender) && !list.drops("t:1", &sender) || list.is_unreadable("t:1"));
            prop_assert!(!list.may_trigger("t:1", &sender));
        }
        // Who may trigger is never dropped.
        prop_assert!(!(list.may_trigger("t:1", &sender) && list.drops("t:1", &sender)));
    }

    #[test]
    fn nothing_outside_an_allowed_root_is_mounted(list in near(MOUNTS), asked in near(ASKED), is_main: bool) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap().join("root");
        let home = place.path().canonicalize().unwrap().join("home");
        for directory in [root.join("photos"), home.join("notes"), home.join("secret")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let here = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace("ROOT", root.to_str().unwrap());
        let (list, asked) = (Allowlist::from_read(Ok(here(list))), here(asked));
        let (mounts, _) = mounts::resolve(&asked, &list, &Place { user_home: &home, own: &[], others: &[], is_main });
        for mount in mounts {
            // A mutation may allow `/`; even then a mount is a real directory beneath ours.
            prop_assert!(mount.guest.starts_with("/workspace/extra/"), "{mount:?}");
            prop_assert!(!mount.guest.to_str().unwrap().contains(".."), "{mount:?}");
            prop_assert!(mount.host.is_dir() && mount.host.canonicalize().unwrap() == mount.host, "{mount:?}");
            prop_assert!(list.is_ok());
        }
    }

    #[test]
    fn a_folder_s_name_is_one_plain_name(name in "[a-zA-Z0-9_./\\- \u{0}é]{0,70}") {
        if let Ok(folder) = Folder::parse(&name) {
            prop_assert_eq!(folder.as_str(), &name);
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            prop_assert!(!name.is_empty() && name.len() <= 64);
        }
    }
}
