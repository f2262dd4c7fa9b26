//! How the Messages API writes down a reply: as one JSON document or as the
//! events of a stream. Pure.

use serde_json::{Value, json};

use super::super::book::Usage;
use super::script::{Content, LABEL, Reply, tokens};

/// The name of the model, which has no price.
const MODEL: &str = "practice";

/// Whether a request wants its answer as a stream.
pub(in crate::proxy) fn wants_stream(request: &Value) -> bool {
    request["stream"] == true
}

/// The answer to `POST /v1/messages/count_tokens`.
pub(in crate::proxy) fn count_tokens(request: &Value) -> Value {
    json!({"input_tokens": tokens(&request.to_string())})
}

/// The answer to `GET /v1/models`, or to `GET /v1/models/<id>`.
pub(in crate::proxy) fn models(id: Option<&str>) -> Value {
    let name = format!("{}not a language model", LABEL);
    let model = |id: &str| json!({"type": "model", "id": id, "display_name": name, "created_at": "2026-01-01T00:00:00Z"});
    match id {
        Some(id) => model(id),
        None => {
            json!({"data": [model(MODEL)], "has_more": false, "first_id": MODEL, "last_id": MODEL})
        }
    }
}

impl Reply {
    /// What it would have cost.
    pub(in crate::proxy) fn usage(&self) -> Usage {
        Usage {
            model: MODEL.to_owned(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens(),
            ..Usage::default()
        }
    }

    /// One document.
    pub(in crate::proxy) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": MODEL,
            "content": self.blocks(), "stop_reason": self.stop_reason(), "stop_sequence": null,
            "usage": counts(self.input_tokens, self.output_tokens()),
        })
    }

    /// Server-sent events.
    pub(in crate::proxy) fn to_stream(&self) -> String {
        let mut stream = String::new();
        let mut event = |kind: &str, mut data: Value| {
            data["type"] = kind.into();
            stream.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
        };
        let mut message = self.to_json();
        message["content"] = json!([]);
        message["stop_reason"] = Value::Null;
        message["usage"] = counts(self.input_tokens, 1);
        event("message_start", json!({"message": message}));
        for (index, mut block) in self.blocks().into_iter().enumerate() {
            // A block begins empty; its delta brings the content.
            let delta = if block["type"] == "text" {
                let text = std::mem::replace(&mut block["text"], "".into());
                json!({"type": "text_delta", "text": text})
            } else {
                let input = std::mem::replace(&mut block["input"], json!({}));
                json!({"type": "input_json_delta", "partial_json": input.to_string()})
            };
            event("content_block_start", json!({"index": index, "content_block": block}));
            event("content_block_delta", json!({"index": index, "delta": delta}));
            event("content_block_stop", json!({"index": index}));
        }
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        event(
            "message_delta",
            json!({"delta": delta, "usage": {"output_tokens": self.output_tokens()}}),
        );
        event("message_stop", json!({}));
        stream
    }

    fn blocks(&self) -> Vec<Value> {
        match &self.content {
            Content::Text(text) => vec![json!({"type": "text", "text": text})],
            Content::Calls(calls) => calls
                .iter()
                .enumerate()
                .map(|(n, call)| {
                    let id = format!("{}_{n}", self.id.replacen("msg_", "toolu_", 1));
                    let input = json!({"command": call.command, "description": call.description});
                    json!({"type": "tool_use", "id": id, "name": "Bash", "input": input})
                })
                .collect(),
        }
    }

    fn stop_reason(&self) -> &'static str {
        match self.content {
            Content::Text(_) => "end_turn",
            Content::Calls(_) => "tool_use",
        }
    }

    fn output_tokens(&self) -> u64 {
        match &self.content {
            Content::Text(text) => tokens(text),
            Content::Calls(calls) => calls.iter().map(|call| tokens(&call.command)).sum(),
        }
    }
}

fn counts(input: u64, output: u64) -> Value {
    json!({
        "input_tokens": input, "output_tokens": output,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::script::reply;
    use super::*;

    fn events(stream: &str) -> Vec<Value> {
        stream
            .split_terminator("\n\n")
            .map(|event| {
                let (name, data) = event.split_once('\n').expect("two lines");
                let data: Value =
                    serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
                assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
                data
            })
            .collect()
    }

    #[test]
    fn a_stream_puts_together_to_the_document() {
        for text in ["hello", "remember it's \"late\"", "remember a\"}, {"] {
            let request = json!({"tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": text}]});
            let reply = reply(&request);
            let events = events(&reply.to_stream());
            let mut message = events[0]["message"].clone();
            let mut blocks: Vec<Value> = Vec::new();
            for event in &events {
                match event["type"].as_str().expect("a type") {
                    "content_block_start" => blocks.push(event["content_block"].clone()),
                    "content_block_delta" if event["delta"]["type"] == "text_delta" => {
                        blocks[0]["text"] = event["delta"]["text"].clone();
                    }
                    "content_block_delta" => {
                        let json = event["delta"]["partial_json"].as_str().expect("text");
                        blocks[0]["input"] = serde_json::from_str(json).expect("JSON");
                    }
                    "message_delta" => {
                        message["stop_reason"] = event["delta"]["stop_reason"].clone();
                        message["usage"]["output_tokens"] = event["usage"]["output_tokens"].clone();
                    }
                    _ => {}
                }
            }
            message["content"] = blocks.into();
            assert_eq!(message, reply.to_json());
            assert_eq!(events.last().expect("an end")["type"], "message_stop");
        }
    }
}
