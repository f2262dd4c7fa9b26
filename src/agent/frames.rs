//! What the CLI writes: one JSON object a line, read into the few things that we
//! act on.
//!
//! The protocol grows monthly, so nothing here fails: an unknown type, an unknown
//! field or a line that is no JSON is [`Frame::Other`]. Fields that we do not
//! name are skipped by the parser and never held in memory.

use serde::Deserialize;
use serde_json::{Value, json};

/// The name of our MCP server.
pub const SERVER: &str = "nanoclaw";

/// One line of the CLI.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A run begins (sent again at the start of every one).
    Init {
        /// The id to resume with.
        session: String,
        /// How our MCP server is, if the CLI knows of it.
        tools: Option<String>,
    },
    /// A run ended.
    Result(RunEnd),
    /// What became of a user line that carried this uuid.
    Lifecycle {
        /// The user line's.
        uuid: String,
        /// Where it is now.
        state: Lifecycle,
    },
    /// A model call failed and will be tried again.
    ApiRetry {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The CLI's word for it, such as `authentication_failed`.
        error: String,
    },
    /// The background tasks that live now.
    Background(Vec<String>),
    /// One background task began (true) or ended.
    Task(String, bool),
    /// The CLI asks us.
    Ask {
        /// To be repeated in the answer.
        id: String,
        /// Whole, for its kinds differ.
        request: Value,
    },
    /// The answer to what we asked.
    Answer {
        /// Ours.
        id: String,
        /// The answer, or the CLI's words why not.
        result: Result<Value, String>,
    },
    /// Anything else.
    Other,
}

/// The stages of a user line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Received.
    Queued,
    /// Given to the model.
    Started,
    /// Done with; also of a line that was dropped because its uuid was known.
    Completed,
    /// Abandoned.
    Cancelled,
}

/// The end of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunEnd {
    /// The frame's own uuid.
    pub uuid: String,
    /// Which user lines it answers; absent in older builds, and in runs that the
    /// CLI started by itself.
    pub named: Option<Vec<String>>,
    /// `is_error`, which is the truth also where the subtype says `success`.
    pub is_error: bool,
    /// `success`, `error_during_execution`, ...
    pub subtype: String,
    /// The answer, or the CLI's words about an error.
    pub text: String,
    /// The HTTP status of the last model call, if it failed.
    pub status: Option<u16>,
    /// Whether the CLI says that it started the run itself.
    pub self_started: bool,
}

/// Reads one line.
pub fn parse(line: &[u8]) -> Frame {
    match serde_json::from_slice::<Line>(line) {
        Ok(line) => line.frame().unwrap_or(Frame::Other),
        Err(_) => Frame::Other,
    }
}

/// The control request that must come first.
pub fn initialize(id: &str, append_system_prompt: &str) -> Value {
    control(
        id,
        json!({
            "subtype": "initialize",
            "hooks": {"PreCompact": [{"hookCallbackIds": ["archive"]}]},
            "appendSystemPrompt": append_system_prompt,
            // Rendered afresh on resume: otherwise a changed memory would stay
            // unseen until the next compaction.
            "systemPromptSnapshot": false,
        }),
    )
}

/// A user line. Its text is taken literally (`@Ann` is no file), unless it is a
/// slash command, which only the host can have meant. `images` are blocks.
pub fn user(uuid: &str, text: &str, images: Vec<Value>) -> Value {
    let content = if images.is_empty() {
        json!(text)
    } else {
        let text = std::iter::once(json!({"type": "text", "text": text}));
        text.chain(images).collect()
    };
    json!({
        "type": "user", "session_id": "", "parent_tool_use_id": null, "uuid": uuid,
        "message": {"role": "user", "content": content},
        "client_composed": !text.starts_with('/'),
    })
}

/// A control request.
pub fn control(id: &str, request: Value) -> Value {
    json!({"type": "control_request", "request_id": id, "request": request})
}

/// Our answer to a control request.
pub fn answer(id: &str, result: Result<Value, &str>) -> Value {
    let response = match result {
        Ok(value) => json!({"subtype": "success", "request_id": id, "response": value}),
        Err(error) => json!({"subtype": "error", "request_id": id, "error": error}),
    };
    json!({"type": "control_response", "response": response})
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    subtype: Option<String>,
    session_id: Option<String>,
    mcp_servers: Option<Vec<Server>>,
    uuid: Option<String>,
    user_message_uuids: Option<Vec<String>>,
    is_error: Option<bool>,
    result: Option<Value>,
    errors: Option<Vec<Value>>,
    api_error_status: Option<u16>,
    origin: Option<Value>,
    command_uuid: Option<String>,
    state: Option<Value>,
    error_status: Option<u16>,
    error: Option<Value>,
    tasks: Option<Vec<Task>>,
    task_id: Option<String>,
    is_backgrounded: Option<bool>,
    request_id: Option<String>,
    request: Option<Value>,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    status: String,
}

#[derive(Deserialize)]
struct Task {
    task_id: String,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    error: Value,
}

impl Line {
    fn frame(self) -> Option<Frame> {
        Some(match (self.kind.as_str(), self.subtype.as_deref()) {
            ("result", _) => Frame::Result(self.run_end()),
            ("command_lifecycle", _) => Frame::Lifecycle {
                uuid: self.command_uuid?,
                state: match self.state?.as_str()? {
                    "queued" => Lifecycle::Queued,
                    "started" => Lifecycle::Started,
                    "completed" => Lifecycle::Completed,
                    "cancelled" => Lifecycle::Cancelled,
                    _ => return None,
                },
            },
            ("control_request", _) => Frame::Ask { id: self.request_id?, request: self.request? },
            ("control_response", _) => {
                let r = self.response?;
                let result =
                    if r.subtype == "error" { Err(words(&r.error)) } else { Ok(r.response) };
                Frame::Answer { id: r.request_id, result }
            }
            ("system", Some("init")) => {
                let ours = self.mcp_servers.into_iter().flatten().find(|s| s.name == SERVER);
                Frame::Init { session: self.session_id?, tools: ours.map(|s| s.status) }
            }
            ("system", Some("api_retry")) => Frame::ApiRetry {
                status: self.error_status,
                error: self.error.as_ref().map(words).unwrap_or_default(),
            },
            ("system", Some("background_tasks_changed")) => {
                Frame::Background(self.tasks?.into_iter().map(|t| t.task_id).collect())
            }
            ("system", Some("task_started")) if self.is_backgrounded != Some(false) => {
                Frame::Task(self.task_id?, true)
            }
            ("system", Some("task_notification")) => Frame::Task(self.task_id?, false),
            _ => return None,
        })
    }

    fn run_end(self) -> RunEnd {
        let text = match self.result {
            Some(Value::String(text)) => text,
            _ => self.errors.unwrap_or_default().iter().map(words).collect::<Vec<_>>().join("; "),
        };
        let subtype = self.subtype.unwrap_or_default();
        RunEnd {
            uuid: self.uuid.unwrap_or_default(),
            named: self.user_message_uuids,
            is_error: self.is_error.unwrap_or(subtype != "success"),
            subtype,
            text,
            status: self.api_error_status,
            self_started: self.origin.is_some_and(|o| o["kind"] == "task-notification"),
        }
    }
}

/// A string as it is, anything else as JSON.
fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_whatever_the_order_of_its_keys() {
        let line = br#"{"duration_ms":3,"usage":{"a":[1,2]},"api_error_status":401,"result":"no","is_error":true,
            "user_message_uuids":["u1","u2"],"subtype":"success","uuid":"r","type":"result"}"#;
        let Frame::Result(end) = parse(line) else { panic!("no result") };
        assert!(end.is_error && end.status == Some(401) && end.text == "no");
        assert_eq!(end.named, Some(vec!["u1".into(), "u2".into()]));
    }

    #[test]
    fn errors_are_joined_and_an_absent_is_error_follows_the_subtype() {
        let Frame::Result(end) =
            parse(br#"{"type":"result","subtype":"error_during_execution","errors":["a",1]}"#)
        else {
            panic!("no result")
        };
        assert!(end.is_error && end.text == "a; 1" && end.named.is_none());
    }

    #[test]
    fn init_tells_how_our_server_is() {
        let line = br#"{"type":"system","subtype":"init","session_id":"s","mcp_servers":[{"name":"x","status":"failed"},
            {"name":"nanoclaw","status":"connected"}]}"#;
        assert_eq!(
            parse(line),
            Frame::Init { session: "s".into(), tools: Some("connected".into()) }
        );
    }

    #[test]
    fn unknown_frames_and_rubbish_are_other() {
        for line in [
            "",
            "x",
            "{",
            "[]",
            "{}",
            r#"{"type":"news"}"#,
            r#"{"type":"system","subtype":"init"}"#,
            r#"{"type":"command_lifecycle","command_uuid":"u","state":"dreaming"}"#,
            r#"{"type":"result","uuid":7}"#,
        ] {
            assert_eq!(parse(line.as_bytes()), Frame::Other, "{line}");
        }
    }

    #[test]
    fn an_older_answer_without_inner_response_is_an_answer() {
        let line =
            br#"{"type":"control_response","response":{"subtype":"success","request_id":"i1"}}"#;
        assert_eq!(parse(line), Frame::Answer { id: "i1".into(), result: Ok(Value::Null) });
    }

    #[test]
    fn only_a_slash_command_is_left_to_the_cli_to_interpret() {
        assert_eq!(user("u", "@notes hi", Vec::new())["client_composed"], true);
        assert_eq!(user("u", "/compact", Vec::new())["client_composed"], false);
    }
}
