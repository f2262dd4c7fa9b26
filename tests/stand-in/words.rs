//! What the stand-in reads out of a user line. Pure.

use std::time::Duration;

use serde_json::Value;

/// One word that it obeys.
pub enum Word {
    Think(Duration),
    Say(String),
    Tool(String),
    Background(Duration),
    Error(u16),
    Silent,
    Crash,
    Hang,
    Deaf,
    Flood,
    Retry401,
    Model,
}

/// The contents of all `<message>` elements, or the whole text.
pub fn texts(prompt: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = prompt;
    while let Some(start) = rest.find("<message ").or_else(|| rest.find("<message>")) {
        rest = &rest[start..];
        let (Some(open), Some(close)) = (rest.find('>'), rest.find("</message>")) else { break };
        if open < close {
            found.push(unescape(&rest[open + 1..close]));
        }
        rest = &rest[close + "</message>".len()..];
    }
    if found.is_empty() { vec![prompt.to_owned()] } else { found }
}

/// The text of a user line's content; each image adds a message of its type and
/// the length of its base64.
pub fn text_of(content: &Value) -> String {
    let Some(blocks) = content.as_array() else {
        return content.as_str().unwrap_or_default().to_owned();
    };
    let one = |block: &Value| match block["source"]["data"].as_str() {
        Some(data) => {
            let kind = block["source"]["media_type"].as_str().unwrap_or_default();
            format!("<message>[{kind} of {}]</message>", data.len())
        }
        None => block["text"].as_str().unwrap_or_default().to_owned(),
    };
    blocks.iter().map(one).collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The words in one message. `say:` and `tool:` take the rest of it.
pub fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = rest.split_whitespace().next().unwrap_or_default();
        if let Some(said) = rest.strip_prefix("say:") {
            found.push(Word::Say(said.to_owned()));
            break;
        }
        if let Some(call) = rest.strip_prefix("tool:") {
            found.push(Word::Tool(call.to_owned()));
            break;
        }
        let time = |ms: &str| ms.parse().ok().map(Duration::from_millis);
        found.extend(match word.split_once(':') {
            Some(("think", ms)) => time(ms).map(Word::Think),
            Some(("background", ms)) => time(ms).map(Word::Background),
            Some(("error", status)) => status.parse().ok().map(Word::Error),
            Some(_) => None,
            None => match word {
                "silent" => Some(Word::Silent),
                "crash" => Some(Word::Crash),
                "hang" => Some(Word::Hang),
                "deaf" => Some(Word::Deaf),
                "flood" => Some(Word::Flood),
                "retry401" => Some(Word::Retry401),
                "model" => Some(Word::Model),
                _ => None,
            },
        });
        rest = rest[word.len()..].trim_start();
    }
    found
}
