//! Whether a text calls the assistant.
//!
//! The trigger is literal text at the very beginning, in any case, and must end
//! where a word ends. "Word" is meant in every script: 1.x knew ASCII only, so
//! that `@José` never worked.

/// The trigger that holds for a group: its own, else `@` and the name.
pub(super) fn effective(own: Option<&str>, assistant_name: &str) -> String {
    match own.map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => format!("@{}", assistant_name.trim()),
    }
}

/// Whether `content` begins with `trigger`.
pub(super) fn matches(trigger: &str, content: &str) -> bool {
    let mut wanted = trigger.chars().flat_map(folded).peekable();
    let mut rest =
        content.trim_start_matches(|c: char| c.is_whitespace() || is_invisible(c)).chars();
    while wanted.peek().is_some() {
        let Some(c) = rest.next() else { return false };
        if folded(c).any(|f| wanted.next() != Some(f)) {
            return false;
        }
    }
    !rest.next().is_some_and(continues_word)
}

/// The same for letters that differ only in case, such as `Σ`, `σ` and `ς`.
fn folded(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// Marks without width or ink that some keyboards put before a mention.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether `c` after the trigger makes it part of a longer word.
///
/// Scripts that put no spaces between words give no sign of where one ends, so
/// there the trigger counts: `@Andyさん` is a call.
fn continues_word(c: char) -> bool {
    let accent = matches!(c, '\u{300}'..='\u{36f}');
    (c.is_alphanumeric() || c == '_' || accent) && !is_unspaced(c)
}

fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // Kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' // Han
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fmt_18_to_24_the_name_at_the_start_in_any_case() {
        let andy = effective(None, "Andy");
        let fmt_18_22_23 = ["@Andy hello", "@Andy's turn", "@Andy"];
        let fmt_19_24 = ["@andy hello", "@ANDY hello", "  @Andy hello"];
        for text in fmt_18_22_23.into_iter().chain(fmt_19_24) {
            assert!(matches(&andy, text), "{text}");
        }
        let fmt_20_21 = ["hello @Andy", "@Andyextra", "@Andy_x", "@Andy2", "@And", "Andy", ""];
        for text in fmt_20_21 {
            assert!(!matches(&andy, text), "{text}");
        }
        for text in ["@andy, hi", "@Andy-x", "@Andy: hi", "@Andy\nhi", "@Andy👍"] {
            assert!(matches(&andy, text), "{text}");
        }
    }

    #[test]
    fn fmt_25_and_26_a_trigger_of_its_own_or_the_default() {
        let own = effective(Some(" @Bot "), "Andy");
        assert!(matches(&own, "@bot hi") && !matches(&own, "@Andy hi"));
        assert!(["", "  "].iter().all(|blank| effective(Some(blank), "Andy") == "@Andy"));
    }

    #[test]
    fn fmt_27_characters_of_patterns_are_literal() {
        let odd = effective(Some("@a.b*(c)"), "Andy");
        assert!(matches(&odd, "@A.B*(C) hi") && !matches(&odd, "@aXbb(c) hi"));
    }

    /// Quirk 2: none of these ever matched in 1.x.
    #[test]
    fn triggers_that_end_in_any_letter_or_sign_work() {
        assert!(
            matches("@José", "@José hi")
                && matches("@José", "@JOSÉ, hi")
                && matches("@Νίκος", "@ΝΊΚΟΣ hi")
        );
        assert!(matches("!bot!", "!bot! hi") && matches("!bot!", "!BOT!"));
        assert!(matches("@Яна", "@яна") && !matches("@Яна", "@янар"));
        assert!(!matches("@Jos", "@José hi") && !matches("@Jose", "@Jose\u{301} hi"));
    }

    #[test]
    fn scripts_without_spaces_can_follow_the_trigger() {
        assert!(matches("@Andy", "@Andyさん、こんにちは") && matches("@小明", "@小明你好"));
    }

    #[test]
    fn invisible_marks_before_the_trigger_do_not_hide_it() {
        assert!(matches("@Andy", "\u{200e}\u{2068}@Andy hi"));
    }
}
