//! `nanoclaw mcp`: the MCP server that the CLI starts over stdio.
//!
//! It describes the tools to the model and passes each call on to the agent over
//! its Unix socket. What a call may do, and whether it was done, is the host's to
//! say; its words reach the model unchanged.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use serde_json::{Value, json};

use super::tools::{Call, call};
use super::{frames, place, processes};

/// Serves until standard input closes. Builds its own runtime.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let server = Server {
            socket: std::env::var_os(place::SOCKET)
                .context("nanoclaw mcp is started by the agent, not by hand")?
                .into(),
            session: std::env::var(processes::TAG).context("the session's tag is missing")?,
        };
        server.serve(rmcp::transport::io::stdio()).await?.waiting().await?;
        anyhow::Ok(())
    });
    // A blocked read of standard input must not keep a served process alive.
    runtime.shutdown_background();
    served
}

#[derive(Clone)]
struct Server {
    socket: PathBuf,
    session: String,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(frames::SERVER, env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let asked = Call {
            session: self.session.clone(),
            tool: request.name.into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()),
        };
        let outcome = match call(&self.socket, &asked).await {
            Ok(outcome) => outcome,
            Err(e) => Err(format!("The agent cannot be reached, the outcome is unknown: {e}")),
        };
        Ok(CallToolResponse::Complete(match outcome {
            Ok(Value::String(text)) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Ok(value) => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error)]),
        }))
    }
}

/// What the model is told of each tool.
fn tools() -> Vec<Tool> {
    let string = |about: &str| json!({"type": "string", "description": about});
    vec![
        tool(
            "send_message",
            "Sends a message to the chat now, before your turn ends: progress of long work, or several messages. Your \
             final answer is sent by itself; do not repeat it here.",
            json!({
                "text": string("The message."),
                "chat": string("Another chat's id, from list_groups. Only main may name one that is not its own."),
            }),
            &["text"],
        ),
        tool(
            "send_file",
            "Sends a file from your folder to the chat, with a caption if you like. At most 64 MiB. It is sent as it is \
             now; what you change later does not reach the chat.",
            json!({
                "path": string("The file, in /workspace/group."),
                "caption": string("A text that goes with it."),
                "chat": string("Another chat's id, from list_groups. Only main may name one that is not its own."),
            }),
            &["path"],
        ),
        tool(
            "read_history",
            "Reads what was said in this group's chats, by people and by you, oldest first: the latest, or those before a \
             time, or those with certain words. `earlier` says how to ask for the page before.",
            json!({
                "query": string("Only messages that contain all of these words, in any order; beginnings of words, of two letters or more, count."),
                "before": string("Only messages before this time, such as 2026-01-31T09:00:00Z, or before what `earlier` says."),
                "limit": {"type": "integer", "minimum": 1, "maximum": 200, "description": "At most so many; 50 if absent."},
            }),
            &[],
        ),
        tool(
            "schedule_task",
            "Schedules work for yourself. At each time you are woken with the prompt, and your answer goes to the chat \
             (wrap it in <internal> to say nothing). Answers with the next run.",
            json!({
                "prompt": string("What to do then. You remember nothing else in an isolated context: say everything."),
                "schedule_type": {"type": "string", "enum": ["cron", "interval", "once"]},
                "schedule_value": string("cron: five fields in local time, such as \"0 9 * * 1-5\". interval: milliseconds. \
                    once: local time without a zone, such as 2026-03-01T09:00:00."),
                "context_mode": {"type": "string", "enum": ["group", "isolated"], "description": "group (the default): in this \
                    conversation. isolated: in one of its own."},
                "timezone": string("An IANA zone, if not the owner's."),
                "script": string("Bash that runs first and prints, as its last line, {\"wakeAgent\": true or false, \
                    \"data\": ...}. On false you are not woken. For checks that are cheap without you."),
                "target_group_jid": string("Another group's chat. Only main may name one."),
            }),
            &["prompt", "schedule_type", "schedule_value"],
        ),
        tool("list_tasks", "Lists the scheduled tasks that you may see.", json!({}), &[]),
        tool(
            "pause_task",
            "Stops a task until it is resumed.",
            json!({"task_id": string("Its id.")}),
            &["task_id"],
        ),
        tool(
            "resume_task",
            "Lets a paused task run again.",
            json!({"task_id": string("Its id.")}),
            &["task_id"],
        ),
        tool("cancel_task", "Deletes a task.", json!({"task_id": string("Its id.")}), &["task_id"]),
        tool(
            "update_task",
            "Changes what is given of a task. A new schedule moves the next run.",
            json!({
                "task_id": string("Its id."),
                "prompt": string("What to do."),
                "schedule_type": {"type": "string", "enum": ["cron", "interval", "once"]},
                "schedule_value": string("As in schedule_task."),
                "timezone": string("An IANA zone."),
                "context_mode": {"type": "string", "enum": ["group", "isolated"]},
                "script": string("As in schedule_task; an empty text removes it."),
            }),
            &["task_id"],
        ),
        tool(
            "register_group",
            "Gives a chat a group of its own: a folder, an agent, a memory. For a chat that has one: changes what is given. \
             Only main may. Three things are the owner's to decide; if they were not said, take what holds by default and \
             tell the owner: who_may_trigger, keep_context, web.",
            json!({
                "jid": string("The chat: its id from list_groups, or its name. Where several fit you are told which."),
                "name": string("The group's name; the chat's if absent."),
                "folder": string("Its folder: letters, digits, - and _, such as whatsapp_family; made from the name if absent."),
                "trigger": string("What a message must begin with; @ and the assistant's name if absent."),
                "requiresTrigger": {"type": "boolean", "description": "Whether a message must begin with it. If absent: in WhatsApp groups it must, elsewhere every message is answered."},
                "who_may_trigger": {"type": "string", "enum": ["known", "everybody", "me"], "description": "Who may wake you there besides the owner. known: people whom the owner knows (the default in WhatsApp groups)."},
                "keep_context": {"type": "boolean", "description": "Whether what others say among themselves is kept and shown to you; true if absent."},
                "web": {"type": "boolean", "description": "Whether the agent there may use the web; true if absent."},
                "containerConfig": {"type": "object", "description": "Directories of the owner's that it sees, if the owner allows them, and its own limit of a turn in milliseconds: {\"additionalMounts\": [{\"hostPath\": \"~/projects/site\", \"containerPath\": \"site\", \"readonly\": true}], \"timeout\": 600000}."},
            }),
            &["jid"],
        ),
        tool(
            "list_groups",
            "Lists the groups and chats that you may see, with their ids, the latest activity first.",
            json!({}),
            &[],
        ),
    ]
}

fn tool(name: &'static str, about: &'static str, properties: Value, required: &[&str]) -> Tool {
    let mut schema = serde_json::Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties);
    schema.insert("required".into(), required.into());
    Tool::new_with_raw(name, Some(Cow::Borrowed(about)), Arc::new(schema))
}
