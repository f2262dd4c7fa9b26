//! What the agent wrote -> what people read.
//!
//! `<internal>...</internal>` is the agent's own reasoning and never leaves,
//! whichever way a text takes (1.x forgot `send_message`). Tags are taken in any
//! case and nested; one that is never closed hides the rest, because showing
//! reasoning is worse than showing less. A tag in backquotes is talked about,
//! not used.

/// The text for the chat; none when the agent chose to say nothing.
pub fn chat_text(text: &str) -> Option<String> {
    let visible = without_internal(text);
    let visible = visible.trim();
    (!visible.is_empty()).then(|| visible.to_owned())
}

/// `text` without its internal blocks; what surrounds them stays as it is.
fn without_internal(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some((before, tag, after)) = next_tag(rest) {
        if depth == 0 {
            visible += before;
        }
        depth = match tag {
            Tag::Open => depth + 1,
            Tag::Close => depth.saturating_sub(1),
        };
        rest = after;
    }
    if depth == 0 {
        visible += rest;
    }
    visible
}

enum Tag {
    Open,
    Close,
}

/// The next tag that is used as one, and what stands before and after it.
fn next_tag(text: &str) -> Option<(&str, Tag, &str)> {
    for (at, _) in text.match_indices('<') {
        let (before, rest) = text.split_at(at);
        let Some((tag, after)) = tag_at(rest) else { continue };
        let quoted = before.ends_with('`') && after.starts_with('`');
        if !quoted {
            return Some((before, tag, after));
        }
    }
    None
}

/// The tag that `text` begins with: `<internal>` or `</internal>`, in any case,
/// with spaces before the `>`.
fn tag_at(text: &str) -> Option<(Tag, &str)> {
    let text = text.strip_prefix('<')?;
    let (tag, text) = text.strip_prefix('/').map_or((Tag::Open, text), |text| (Tag::Close, text));
    let (name, text) = text.split_at_checked("internal".len())?;
    let text = text.trim_start().strip_prefix('>')?;
    name.eq_ignore_ascii_case("internal").then_some((tag, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fmt_28_to_30_blocks_go_and_what_surrounds_them_stays() {
        assert_eq!(without_internal("hello <internal>secret</internal> world"), "hello  world");
        assert_eq!(without_internal("hello <internal>\na\nb\n</internal> world"), "hello  world");
        assert_eq!(without_internal("<internal>a</internal>hello<internal>b</internal>"), "hello");
    }

    #[test]
    fn fmt_31_and_33_only_internal_text_is_silence() {
        assert_eq!(without_internal("<internal>only this</internal>"), "");
        assert_eq!(chat_text("  <internal>only this</internal>\n"), None);
        assert_eq!(chat_text(" \n"), None);
    }

    #[test]
    fn fmt_32_and_34_the_rest_is_said() {
        assert_eq!(chat_text("hello world").as_deref(), Some("hello world"));
        assert_eq!(
            chat_text("<internal>thinking</internal>\nThe answer is 42").as_deref(),
            Some("The answer is 42")
        );
    }

    /// 1.x leaves an unclosed block, an upper-case one and half a nested one in
    /// the text.
    #[test]
    fn reasoning_never_leaks_through_sloppy_tags() {
        assert_eq!(chat_text("Yes.\n<internal>but").as_deref(), Some("Yes."));
        assert_eq!(chat_text("<INTERNAL>x</Internal >ok").as_deref(), Some("ok"));
        let nested = "a<internal>b<internal>c</internal>d</internal>e";
        assert_eq!(chat_text(nested).as_deref(), Some("ae"));
        assert_eq!(chat_text("ok</internal> then").as_deref(), Some("ok then"));
    }

    #[test]
    fn other_tags_and_tags_that_are_talked_about_stay() {
        for text in [
            "a <b>c</b> < d",
            "<internals>x</internals>",
            "<internal",
            "</interné>",
            "use `<internal>` tags",
        ] {
            assert_eq!(chat_text(text).as_deref(), Some(text));
        }
    }
}
