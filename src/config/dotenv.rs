//! The `.env` file, read by the rules of NanoClaw 1.x.
//!
//! A line is blank, a `#` comment, or `NAME=value`. Both sides are trimmed, one
//! pair of equal quotes around the value is taken off, an empty value counts as
//! not given, and the last of several equal names wins. There are no inline
//! comments and no escapes. What 1.x passed over in silence (a line without
//! `=`, `export NAME=value`, bytes that are not UTF-8) is refused with its line
//! number, because the owner meant something by it. No error repeats a line: it
//! may hold a secret.

use std::collections::HashMap;

/// Why a line cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// The rest of a sentence that begins with "line 3".
    pub problem: &'static str,
}

/// The names and values in `bytes`.
pub fn parse(bytes: &[u8]) -> Result<HashMap<String, String>, BadLine> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut values = HashMap::new();
    for (index, raw) in bytes.split(|&b| b == b'\n').enumerate() {
        match parse_line(raw) {
            Ok(Some((name, value))) => {
                values.insert(name.to_owned(), value.to_owned());
            }
            Ok(None) => {}
            Err(problem) => return Err(BadLine { line: index + 1, problem }),
        }
    }
    Ok(values)
}

fn parse_line(raw: &[u8]) -> Result<Option<(&str, &str)>, &'static str> {
    if raw.contains(&0) {
        return Err("contains a NUL byte: the file is damaged or is not text");
    }
    let line =
        std::str::from_utf8(raw).map_err(|_| "is not UTF-8: save the file as UTF-8 text")?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) =
        line.split_once('=').ok_or("has no '=': write NAME=value, or begin a comment with '#'")?;
    let name = name.trim_end();
    if name.starts_with("export ") {
        return Err("begins with 'export': write NAME=value alone");
    }
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("has no single name before its '=': write NAME=value");
    }
    let value = unquote(value.trim());
    Ok((!value.is_empty()).then_some((name, value)))
}

fn unquote(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        parse(text.as_bytes()).expect("a readable file").remove("A")
    }

    #[test]
    fn values_are_read_as_1x_reads_them() {
        assert_eq!(value("A=1").as_deref(), Some("1"));
        assert_eq!(value("\u{feff}  A =  x=y # z \r\n").as_deref(), Some("x=y # z"));
        assert_eq!(value("A=\"quoted\"").as_deref(), Some("quoted"));
        assert_eq!(value("A='it''s'").as_deref(), Some("it''s"));
        assert_eq!(value("A=\"mixed'").as_deref(), Some("\"mixed'"));
        assert_eq!(value("A=\"").as_deref(), Some("\""));
        assert_eq!(value("A=a\\nb").as_deref(), Some("a\\nb"));
        assert_eq!(value("\n# A=0\n\nB=2").as_deref(), None);
    }

    #[test]
    fn the_last_value_wins_and_empty_ones_do_not_count() {
        assert_eq!(value("A=1\nA=2").as_deref(), Some("2"));
        assert_eq!(value("A=1\nA=\nA=\"\"").as_deref(), Some("1"));
    }

    #[test]
    fn a_line_that_means_nothing_is_refused_with_its_number() {
        let refused = |bytes: &[u8]| parse(bytes).expect_err("a bad file").to_string();
        assert!(refused(b"A=1\n\nsk-ant-secret\n").starts_with("line 3 has no '='"));
        assert!(refused(b"A=1\nB=\xff\xfe\n").starts_with("line 2 is not UTF-8"));
        assert!(refused(b"A=\x001").starts_with("line 1 contains a NUL"));
        assert!(refused(b"export A=1").starts_with("line 1 begins with 'export'"));
        assert!(refused(b"=1").starts_with("line 1 has no single name"));
        assert!(!refused(b"sk-ant-secret").contains("secret"));
    }
}
