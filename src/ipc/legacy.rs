//! The records that agents of 1.x wrote by hand or by tool: what their memories and
//! scripts still write. Files `*.json` with any name, in `messages/` and `tasks/`.
//!
//! Fields that say who writes (`groupFolder`, `isMain`, `createdBy`) are not read:
//! identity is the directory.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum LegacyRecord {
    /// From `messages/`.
    Message(Message),
    /// From `tasks/`.
    Task(LegacyTask),
}

/// A message to a chat.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Where to.
    pub chat_jid: String,
    /// What.
    pub text: String,
}

/// A command.
///
/// Read as 1.x has the fields, written as the arguments of the tool of that name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields(deserialize = "camelCase"))]
pub enum LegacyTask {
    /// Makes a task.
    ScheduleTask {
        /// What the agent is to do.
        prompt: String,
        /// `cron`, `interval` or `once`.
        #[serde(rename = "schedule_type")]
        schedule_type: String,
        /// The expression, the milliseconds, or the local time.
        #[serde(rename = "schedule_value")]
        schedule_value: String,
        /// The chat whose group it is for. The first days named the folder instead.
        #[serde(rename(serialize = "target_group_jid"))]
        target_jid: Option<String>,
        /// The folder, in the first days.
        #[serde(skip_serializing)]
        group_folder: Option<String>,
        /// Its id, if the writer chose one.
        task_id: Option<String>,
        /// `group` or `isolated`; anything else means `isolated`.
        #[serde(rename = "context_mode")]
        context_mode: Option<String>,
        /// What runs first.
        script: Option<String>,
    },
    /// Pauses a task.
    PauseTask {
        /// Which.
        task_id: String,
    },
    /// Lets a paused task run on.
    ResumeTask {
        /// Which.
        task_id: String,
    },
    /// Removes a task.
    CancelTask {
        /// Which.
        task_id: String,
    },
    /// Changes a task.
    UpdateTask {
        /// Which.
        task_id: String,
        /// The new prompt.
        prompt: Option<String>,
        /// The new script; empty removes it.
        script: Option<String>,
        /// The new kind of schedule.
        #[serde(rename = "schedule_type")]
        schedule_type: Option<String>,
        /// The new schedule.
        #[serde(rename = "schedule_value")]
        schedule_value: Option<String>,
    },
    /// Asks for the names of all groups. Main's.
    RefreshGroups,
    /// Registers a chat as a group. Main's.
    RegisterGroup {
        /// The chat.
        jid: String,
        /// The group's name.
        name: String,
        /// Its folder.
        folder: String,
        /// What wakes it.
        trigger: String,
        /// Whether it must be woken.
        requires_trigger: Option<bool>,
        /// 1.x's JSON.
        #[serde(rename(serialize = "containerConfig"))]
        container_config: Option<Value>,
    },
}

impl LegacyRecord {
    /// Reads a record of `messages/`.
    pub fn message(bytes: &[u8]) -> Result<LegacyRecord, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if value["type"] != "message" {
            return Err(format!("{} is no type of a message", value["type"]));
        }
        serde_json::from_value(value).map(LegacyRecord::Message).map_err(|e| e.to_string())
    }

    /// Reads a record of `tasks/`.
    pub fn task(bytes: &[u8]) -> Result<LegacyRecord, String> {
        serde_json::from_slice(bytes).map(LegacyRecord::Task).map_err(|e| e.to_string())
    }
}

impl LegacyTask {
    /// The tool that it calls, and with what; none for `refresh_groups`.
    pub fn call(&self) -> Option<(String, Value)> {
        let mut arguments = serde_json::to_value(self).ok()?;
        let given = arguments.as_object_mut()?;
        given.retain(|_, value| !value.is_null());
        let Some(Value::String(tool)) = given.remove("type") else { return None };
        if tool == "schedule_task" && given.get("context_mode") != Some(&json!("group")) {
            given.insert("context_mode".into(), json!("isolated"));
        }
        (tool != "refresh_groups").then_some((tool, arguments))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn task(text: &str) -> LegacyTask {
        match LegacyRecord::task(text.as_bytes()).unwrap() {
            LegacyRecord::Task(task) => task,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_of_the_tools_of_1x_are_read() {
        let message = br#"{"type":"message","chatJid":"1@g.us","text":"hi","groupFolder":"x","timestamp":"t"}"#;
        let expected = Message { chat_jid: "1@g.us".into(), text: "hi".into() };
        assert_eq!(LegacyRecord::message(message).unwrap(), LegacyRecord::Message(expected));
        let made = task(
            r#"{"type":"schedule_task","taskId":"task-1-a","prompt":"p","schedule_type":"cron","schedule_value":"0 9 * * *",
                "context_mode":"odd","targetJid":"1@g.us","createdBy":"main","timestamp":"t"}"#,
        );
        let (tool, arguments) = made.call().unwrap();
        assert_eq!(tool, "schedule_task");
        assert_eq!(
            arguments,
            json!({"prompt": "p", "schedule_type": "cron", "schedule_value": "0 9 * * *", "context_mode": "isolated",
                "target_group_jid": "1@g.us", "task_id": "task-1-a"})
        );
        let update = task(r#"{"type":"update_task","taskId":"t","isMain":"true","script":""}"#);
        assert_eq!(update.call().unwrap().1, json!({"task_id": "t", "script": ""}));
        let group = task(
            r#"{"type":"register_group","jid":"1","name":"N","folder":"f","trigger":"@A","requiresTrigger":false}"#,
        );
        assert_eq!(group.call().unwrap().1["requires_trigger"], false);
        assert_eq!(task(r#"{"type":"refresh_groups"}"#).call(), None);
    }

    #[test]
    fn early_tasks_name_the_folder() {
        let early = task(
            r#"{"type":"schedule_task","prompt":"p","schedule_type":"once","schedule_value":"2026-02-01T09:00:00",
                "context_mode":"group","groupFolder":"family","chatJid":"1@g.us","createdBy":"family"}"#,
        );
        assert!(
            matches!(&early, LegacyTask::ScheduleTask { group_folder: Some(f), target_jid: None, .. } if f == "family")
        );
        assert_eq!(early.call().unwrap().1["context_mode"], "group");
    }

    #[test]
    fn a_group_that_is_registered_by_hand_brings_its_container_s_settings() {
        let record = task(
            r#"{"type":"register_group","jid":"1@g.us","name":"Site","folder":"site","trigger":"@Andy",
                "containerConfig":{"additionalMounts":[{"hostPath":"~/site"}],"timeout":600000}}"#,
        );
        let (tool, arguments) = record.call().unwrap();
        assert_eq!(
            (tool.as_str(), &arguments["containerConfig"]["timeout"]),
            ("register_group", &json!(600000))
        );
        assert_eq!(arguments["containerConfig"]["additionalMounts"][0]["hostPath"], "~/site");
    }

    #[test]
    fn what_is_no_record_is_refused_with_a_reason() {
        for bad in [
            r#"{"type":"note","chatJid":"1","text":"x"}"#,
            r#"{"type":"message","text":"x"}"#,
            "{",
            "[]",
        ] {
            assert!(LegacyRecord::message(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [r#"{"type":"rm_rf"}"#, r#"{"type":"pause_task"}"#, "null"] {
            assert!(LegacyRecord::task(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
