//! What a request to the model has the provider fetch or run. Pure.
//!
//! An address in a picture's or document's place, a tool that runs at the provider
//! and a server of tools are all ways out that no proxy of ours sees: a group that
//! does not reach the web does not reach it through the provider either. What the
//! API does not know yet cannot be known here; of tools and sources, though, those
//! that are listed here pass and all others do not.
//!
//! The whole document is walked and nothing of it kept. Only what a tool was given
//! and schemas are passed over: the API does not read those, and anything may be in
//! them. A field that is there twice is looked at twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Sources of pictures and documents that are in the request itself.
const SOURCES: [&str; 3] = ["base64", "text", "content"];
/// Kinds of tools that the container runs, or that reach nothing; each but the first
/// ends in a date.
const TOOLS: [&str; 8] = [
    "custom",
    "bash",
    "text_editor",
    "computer",
    "memory",
    "advisor",
    "tool_search_tool_regex",
    "tool_search_tool_bm25",
];

/// What the provider would do, or `None` if nothing. An error if it is no JSON.
pub(super) fn errand(body: &[u8]) -> serde_json::Result<Option<&'static str>> {
    let mut found = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    Look { place: Place::Other, found: &mut found }.deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// What a value is, by the name of its field.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Source,
    Tool,
    /// Nothing may be there; and why.
    Empty(&'static str),
    Other,
}

impl Place {
    fn of(field: &str) -> Place {
        match field {
            "source" => Place::Source,
            "tools" | "definition" => Place::Tool,
            "mcp_servers" => Place::Empty("it names a server of tools (mcp_servers)"),
            "container" => Place::Empty("it names a container of the provider"),
            _ => Place::Other,
        }
    }
}

struct Look<'a> {
    place: Place,
    found: &'a mut Option<&'static str>,
}

impl Look<'_> {
    /// Something is there.
    fn some<E>(self) -> Result<(), E> {
        if let Place::Empty(why) = self.place {
            *self.found = Some(why);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.some()
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.some()
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.some()
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.some()
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.some()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Look { place, found } = self;
        while list.next_element_seed(Look { place, found: &mut *found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Look { place, found } = self;
        let mut typed = false;
        while let Some(field) = fields.next_key::<String>()? {
            match (place, field.as_str()) {
                (Place::Source, "type") => {
                    typed = true;
                    if !SOURCES.contains(&fields.next_value::<String>()?.as_str()) {
                        *found = Some("it names a file or picture by its address");
                    }
                }
                (Place::Tool, "type") => {
                    let kind = fields.next_value::<Option<String>>()?;
                    let dated = |c: char| c.is_ascii_digit() || c == '_';
                    let kind = kind.as_deref().map_or("custom", |k| k.trim_end_matches(dated));
                    if !TOOLS.contains(&kind) {
                        *found = Some("it asks for a tool that runs at the provider");
                    }
                }
                (_, "input" | "input_examples" | "input_schema" | "schema") => {
                    fields.next_value::<IgnoredAny>()?;
                }
                (_, name) => {
                    fields.next_value_seed(Look { place: Place::of(name), found: &mut *found })?
                }
            }
        }
        if place == Place::Source && !typed {
            *found = Some("it names a file or picture by its address");
        }
        Look { place, found }.some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn content(block: &str) -> String {
        format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#)
    }

    #[test]
    fn what_the_provider_would_fetch_or_run_is_found_in_every_form() {
        for body in [
            content(r#"{"type":"image","source":{"type":"url","url":"https://x/"}}"#),
            content(r#"{"type":"document","source":{"url":"https://x/","type":"url"}}"#),
            content(r#"{"type":"image","source":{"url":"https://x/"}}"#),
            content(r#"{"type":"image","source":[{"url":"https://x/"}]}"#),
            content(r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#),
            content(r#"{"type":"image","source":{"type":"base64","type":"url","url":"u"}}"#),
            content(r#"{"type":"image","sour\u0063e":{"t\u0079pe":"\u0075rl","url":"u"}}"#),
            content(
                r#"{"type":"tool_result","content":[{"type":"image","source":{"type":"url"}}]}"#,
            ),
            content(
                r#"{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url"}}]}}"#,
            ),
            content(
                r#"{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"web_fetch_20250910","name":"f"}}}"#,
            ),
            r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#.into(),
            r#"{"tools":[{"name":"a"},{"type":"web_fetch_20250910"}]}"#.into(),
            r#"{"tools":[{"type":"code_execution_20250825"}]}"#.into(),
            r#"{"tools":[{"type":"bash_code_execution_20250825"}]}"#.into(),
            r#"{"tools":[{"type":"mcp_toolset"}]}"#.into(),
            r#"{"tools":[{"type":"custom","type":"web_search_20250305"}]}"#.into(),
            r#"{"mcp_servers":[{"type":"url","url":"https://x/"}]}"#.into(),
            r#"{"mcp_servers":{}}"#.into(),
            r#"{"container":"c"}"#.into(),
            r#"{"container":{"skills":[]}}"#.into(),
        ] {
            assert!(errand(body.as_bytes()).unwrap().is_some(), "{body}");
        }
    }

    #[test]
    fn what_a_container_does_itself_passes() {
        for body in [
            content(r#"{"type":"text","text":"{\"source\":{\"type\":\"url\"}}"}"#),
            content(
                r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aa"}}"#,
            ),
            content(r#"{"type":"document","source":{"type":"text","data":"x"}}"#),
            content(r#"{"type":"search_result","source":"https://x/","content":[]}"#),
            content(
                r#"{"type":"tool_use","name":"mine","input":{"source":{"type":"url"},"tools":[{"type":"x"}]}}"#,
            ),
            r#"{"tools":[{"name":"a","input_schema":{"properties":{"source":{"type":"object"}}}}]}"#
                .into(),
            r#"{"tools":[{"type":null},{"type":"custom"},{"type":"bash_20250124"},{"type":"text_editor_20250728"},
                {"type":"memory_20250818"},{"type":"computer_20250124"},{"type":"tool_search_tool_regex_20251119"}]}"#
                .into(),
            r#"{"mcp_servers":[],"container":null,"stream":true,"temperature":1.0,"max_tokens":5}"#
                .into(),
        ] {
            assert_eq!(errand(body.as_bytes()).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        let utf16: Vec<u8> = r#"{"container":"c"}"#.bytes().flat_map(|b| [b, 0]).collect();
        let deep = "[".repeat(100_000);
        for body in [b"".as_slice(), b"{", b"{} {}", b"\x1f\x8b\x08", &utf16, deep.as_bytes()] {
            assert!(errand(body).is_err());
        }
    }
}
