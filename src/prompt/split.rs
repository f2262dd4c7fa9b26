//! A long answer -> the messages that a channel can carry.
//!
//! Borders are sought in the order in which a reader minds them least: between
//! paragraphs, lines, sentences, words. A code block is kept whole where it fits; where it
//! does not, it is closed at the end of a piece and opened again in the next.
//! Joined, the pieces are the text but for white space at the borders and those
//! repeated fences.

/// The least length of a piece, in characters, whatever is asked for.
const MIN_CHARS: usize = 64;
/// What closes a code block at a border: a newline and the longest fence that we
/// take for one.
const CLOSING: usize = 1 + MAX_FENCE;
const MAX_FENCE: usize = 8;
/// The characters of a fence's language that are repeated.
const MAX_INFO: usize = 16;

/// `text` in pieces of at most `max_chars` characters (64 where it is less), none
/// of them blank.
pub fn split(text: &str, max_chars: usize) -> Vec<String> {
    let max = max_chars.max(MIN_CHARS);
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    let mut open: Option<Fence> = None;
    while !rest.is_empty() {
        let head = open.as_ref().map(Fence::opening).unwrap_or_default();
        let room = max - head.chars().count();
        if rest.chars().nth(room).is_none() {
            pieces.push(head + rest);
            break;
        }
        let mut window = &rest[..byte_at(rest, room)];
        if open.is_some() || window.contains("```") || window.contains("~~~") {
            window = &rest[..byte_at(rest, room - CLOSING)];
        }
        let cut = border(window, rest, open.as_ref());
        let (piece, after) = rest.split_at(cut);
        let within = open_at_end(piece, open.as_ref());
        let piece = if within.is_some() { piece } else { piece.trim_end() };
        if !piece.trim().is_empty() {
            let tail = within.as_ref().map(|fence| fence.closing(piece)).unwrap_or_default();
            pieces.push(format!("{head}{piece}{tail}"));
        }
        (rest, open) = resume(after, within);
    }
    pieces
}

/// What is left to send after a border, and the block that it begins in.
fn resume(after: &str, within: Option<Fence>) -> (&str, Option<Fence>) {
    let Some(fence) = within else {
        // Spaces at the border go; after a line break they are indentation.
        return (after.trim_start_matches(' ').trim_start_matches('\n'), None);
    };
    let Some(after) = after.strip_prefix('\n') else { return (after, Some(fence)) };
    let line = first_line(after);
    if fence.closes(line) {
        return (after[line.len()..].trim_start_matches('\n'), None);
    }
    (after, Some(fence))
}

/// Where to cut `rest`: within `window`, after at least one character.
fn border(window: &str, rest: &str, open: Option<&Fence>) -> usize {
    // A border in the first third would make a needlessly short piece.
    let least = window.len() / 3;
    let before = |sign: &'static str, least: usize| {
        let at_end = rest[window.len()..].starts_with(sign).then_some(window.len());
        let inside = window.rmatch_indices(sign).map(|(at, _)| at);
        at_end.into_iter().chain(inside).take_while(move |at| *at >= least.max(1))
    };
    // The block that each line begins in, so that no border is sought through all of them.
    let mut lines = vec![(0, open.cloned())];
    for (end, _) in window.match_indices('\n') {
        let (start, within) = &lines[lines.len() - 1];
        let within = open_at_end(&window[*start..end], within.as_ref());
        lines.push((end + 1, within));
    }
    let whole = |at: &usize| {
        let line = lines.partition_point(|(start, _)| start <= at).saturating_sub(1);
        let (start, within) = &lines[line];
        open_at_end(&window[*start..*at], within.as_ref()).is_none()
    };
    // Right after an opening fence there would be an empty block.
    let in_block = |at: &usize| !whole(at) && Fence::open(last_line(&window[..*at])).is_none();
    // What was within a line must not become a fence by beginning one.
    let harmless =
        |at: &usize| Fence::open(first_line(rest[*at..].trim_start_matches(' '))).is_none();
    before("\n\n", least)
        .find(whole)
        .or_else(|| before("\n", least).find(whole))
        .or_else(|| before("\n", 1).find(in_block))
        .or_else(|| {
            before(" ", least)
                .find(|at| ends_sentence(&window[..*at], &rest[*at..]) && whole(at) && harmless(at))
        })
        .or_else(|| before(" ", 1).find(|at| whole(at) && harmless(at)))
        .or_else(|| before("\n", 1).find(whole))
        .unwrap_or_else(|| between_letters(window, rest))
}

/// Whether a reader takes a breath here: not after a number or an abbreviation.
fn ends_sentence(text: &str, after: &str) -> bool {
    let Some(before) = text.strip_suffix(['.', '!', '?', '…', '。', '؟']) else { return false };
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let begins = after.trim_start().chars().next();
    word.chars().count() > 2
        && word.chars().last().is_some_and(|c| !c.is_numeric())
        && begins.is_none_or(|c| !c.is_lowercase() && !c.is_numeric())
}

/// The end of `window`, or a little before where that would part a letter from
/// its accent, the parts of an emoji, or a line so that a fence begins.
fn between_letters(window: &str, rest: &str) -> usize {
    let joins = |c: char| matches!(c, '\u{200d}' | '\u{fe0f}' | '\u{300}'..='\u{36f}' | '\u{1f3fb}'..='\u{1f3ff}');
    let fine = |at: &usize| {
        let next = rest[*at..].chars().next().is_some_and(joins);
        let joiner = rest[..*at].ends_with('\u{200d}');
        !next && !joiner && Fence::open(first_line(&rest[*at..])).is_none()
    };
    let near = window.char_indices().rev().map(|(at, _)| at).take(16);
    std::iter::once(window.len())
        .chain(near)
        .filter(|at| *at > 0)
        .find(fine)
        .unwrap_or(window.len())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn last_line(text: &str) -> &str {
    text.rsplit('\n').next().unwrap_or_default()
}

/// The byte index of the `n`-th character.
fn byte_at(text: &str, n: usize) -> usize {
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

/// The line that opened a code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    sign: char,
    count: usize,
    info: String,
}

impl Fence {
    /// The fence in `line`, if it opens a block.
    pub(super) fn open(line: &str) -> Option<Fence> {
        let line = line.trim();
        let sign = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let count = line.chars().take_while(|c| *c == sign).count();
        let info = &line[count..];
        let plausible = (3..=MAX_FENCE).contains(&count) && !info.contains('`');
        let word = info.split_whitespace().next().unwrap_or_default();
        plausible.then(|| Fence { sign, count, info: word.chars().take(MAX_INFO).collect() })
    }

    pub(super) fn closes(&self, line: &str) -> bool {
        let line = line.trim();
        line.chars().all(|c| c == self.sign) && line.len() >= self.count
    }

    fn opening(&self) -> String {
        format!("{}{}\n", self.marks(), self.info)
    }

    fn closing(&self, piece: &str) -> String {
        let newline = if piece.ends_with('\n') { "" } else { "\n" };
        format!("{newline}{}", self.marks())
    }

    fn marks(&self) -> String {
        String::from(self.sign).repeat(self.count)
    }
}

/// The block in which `text` ends, when it begins in `open`.
fn open_at_end(text: &str, open: Option<&Fence>) -> Option<Fence> {
    text.lines().fold(open.cloned(), |open, line| match open {
        Some(fence) if fence.closes(line) => None,
        Some(fence) => Some(fence),
        None => Fence::open(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text without white space and without the fences that a border repeats.
    fn essence(pieces: &[String]) -> String {
        let bare = |line: &&str| Fence::open(line).is_none();
        pieces.iter().flat_map(|p| p.lines().filter(bare)).flat_map(str::split_whitespace).collect()
    }

    fn checked(text: &str, max: usize) -> Vec<String> {
        let pieces = split(text, max);
        for piece in &pieces {
            assert!(piece.chars().count() <= max.max(MIN_CHARS), "{max}: {piece:?}");
            assert!(!piece.trim().is_empty());
            assert_eq!(open_at_end(piece, None), None, "a block is left open: {piece:?}");
        }
        assert_eq!(essence(&pieces), essence(&[text.to_owned()]), "{max}");
        pieces
    }

    #[test]
    fn a_short_text_is_one_piece() {
        assert_eq!(split("  hello\n\nworld ", 100), ["hello\n\nworld"]);
        assert!(split(" \n ", 100).is_empty());
        let exact = "x".repeat(100);
        assert_eq!(split(&exact, 100), [exact]);
    }

    #[test]
    fn paragraphs_go_before_lines_and_lines_before_words() {
        let paragraph = "word word word word word word word.";
        let text = [paragraph; 4].join("\n\n");
        assert_eq!(checked(&text, 80), [[paragraph; 2].join("\n\n"), [paragraph; 2].join("\n\n")]);
        let text = [paragraph; 4].join("\n");
        assert_eq!(checked(&text, 90), [[paragraph; 2].join("\n"), [paragraph; 2].join("\n")]);
        for piece in checked(&"word ".repeat(100), 70) {
            assert!(piece.split(' ').all(|word| word == "word"), "{piece}");
        }
    }

    #[test]
    fn a_long_line_is_cut_after_a_sentence() {
        let line =
            "This is one sentence about tea. That costs approx. 3. 5 euros or more, says he. "
                .repeat(3);
        for piece in checked(&line, 90) {
            assert!(piece.ends_with("tea.") || piece.ends_with("he."), "{piece}");
        }
    }

    #[test]
    fn text_without_borders_is_cut_between_letters() {
        assert_eq!(checked(&"é".repeat(200), 100).concat(), "é".repeat(200));
        let families = "👩‍👩‍👧".repeat(40);
        for piece in checked(&families, 64) {
            assert!(piece.starts_with('👩') && !piece.starts_with('\u{200d}'), "{piece:?}");
        }
    }

    #[test]
    fn a_code_block_that_fits_stays_whole() {
        let code = "```rust\nfn main() {\n    run();\n\n    stop();\n}\n```";
        let text = format!("{}\n\n{code}\n\nafter", "word ".repeat(12).trim());
        let pieces = checked(&text, 80);
        assert!(pieces.iter().any(|piece| piece.contains(code)), "{pieces:?}");
    }

    #[test]
    fn a_code_block_that_does_not_fit_is_closed_and_opened_again() {
        let lines: Vec<_> = (0..40).map(|n| format!("    line {n}")).collect();
        let pieces = checked(&format!("Look:\n```python\n{}\n```\nDone.", lines.join("\n")), 100);
        assert!(pieces.len() > 4);
        for piece in &pieces[1..pieces.len() - 1] {
            assert!(
                piece.starts_with("```python\n    line ") && piece.ends_with("\n```"),
                "{piece}"
            );
        }
        assert!(pieces.last().is_some_and(|piece| piece.ends_with("Done.")));
    }

    #[test]
    fn indentation_after_a_border_stays() {
        let item = "- one two three four five six seven\n  - under it";
        let pieces = checked(&[item; 6].join("\n"), 90);
        assert!(
            pieces.iter().all(|piece| piece.starts_with('-') || piece.starts_with("  -")),
            "{pieces:?}"
        );
    }

    /// Many texts from a fixed sequence of pseudo-random choices, at every size.
    #[test]
    fn nothing_is_lost_whatever_the_text_and_the_size() {
        let parts = [
            "word ",
            "\n",
            "\n\n",
            "```\n",
            "```rust\n",
            "~~~\n",
            "\n```\n",
            "é👍🏽",
            "  - x\n",
            "`a` ",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        let mut seed = 7_u64;
        for round in 0..600 {
            let mut text = String::new();
            for _ in 0..120 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text += parts[(seed >> 33) as usize % parts.len()];
            }
            let closed = match open_at_end(text.trim(), None) {
                Some(fence) => format!("{}\n{}", text.trim(), fence.marks()),
                None => text,
            };
            checked(&closed, 64 + round % 200);
        }
    }
}
