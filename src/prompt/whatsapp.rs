//! What agents write, Markdown, -> what WhatsApp shows.
//!
//! WhatsApp knows `*bold*`, `_italic_`, `~strike~`, `` `code` ``, code blocks without
//! a language, `- ` lists, `1. ` lists and `> ` quotes, each only at the border of a
//! word and within a line. Everything else of Markdown becomes text that reads well:
//! a link its address in brackets, a heading a bold line, a table columns where a
//! telephone has room for them, else lines.
//!
//! Text that is written for WhatsApp already stays as it is: `*one*` star is bold,
//! unless the same text has `**two**`, which shows that it is Markdown. No word is
//! lost, whatever the input; where signs cannot be shown as formatting they go.
//! Pure. How long a message may be is [`super::split`]'s.

mod table;

use super::split::Fence;

/// How far the end of a link or of an emphasis is looked for, in characters.
const REACH: usize = 2_000;
/// Emphasis within emphasis that is looked into.
const DEPTH: usize = 8;
/// Signs in a text beyond which it is no prose, and stays as it is: each may cost a look
/// as far as [`REACH`].
const MOST_SIGNS: usize = 4_000;
/// What a line across the page becomes.
const RULE: &str = "──────────";

/// `text` as WhatsApp shows it.
pub fn format(text: &str) -> String {
    if text.matches(['*', '_', '~', '`', '<', '[', '|']).count() > MOST_SIGNS {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let style = Style { markdown: text.contains("**"), bold: false, depth: 0 };
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        if let Some(fence) = Fence::open(lines[at]) {
            let body = lines[at + 1..].iter().take_while(|line| !fence.closes(line)).count();
            out.push("```".into());
            let shown = lines[at + 1..].iter().take(body);
            out.extend(shown.map(|line| line.replace("```", "'''")));
            out.push("```".into());
            at += body + 2;
        } else if let Some((rows, table)) = table::read(&lines[at..], &style) {
            out.extend(table);
            at += rows;
        } else if is_underline(lines.get(at + 1)) && !lines[at].trim().is_empty() {
            out.push(heading(lines[at], &style));
            at += 2;
        } else {
            out.push(line(lines[at], &style));
            at += 1;
        }
    }
    let mut out = out.join("\n");
    if text.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// What holds around a piece of text.
#[derive(Clone, Copy)]
struct Style {
    /// A single star is italic.
    markdown: bool,
    /// It is bold already.
    bold: bool,
    depth: usize,
}

/// `=====` under a title.
fn is_underline(line: Option<&&str>) -> bool {
    line.is_some_and(|line| line.trim().len() >= 3 && line.trim().chars().all(|c| c == '='))
}

/// One line that is in no block.
fn line(line: &str, style: &Style) -> String {
    let rest = line.trim_start();
    let indent = indentation(&line[..line.len() - rest.len()]);
    if let Some(quoted) = rest.strip_prefix('>') {
        let inner = quoted.trim_start_matches(['>', ' ']);
        return format!("> {}", self::line(inner, style)).trim_end().to_owned();
    }
    if is_rule(rest) {
        return RULE.into();
    }
    let marks = rest.chars().take_while(|c| *c == '#').count();
    if (1..=6).contains(&marks) && rest[marks..].starts_with([' ', '\t']) {
        return heading(rest[marks..].trim_end_matches([' ', '#']), style);
    }
    for bullet in ["- ", "* ", "+ "] {
        let Some(item) = rest.strip_prefix(bullet) else { continue };
        let item = item.trim_start();
        let (box_, item) = match item.get(..4) {
            Some("[ ] ") => ("☐ ", &item[4..]),
            Some("[x] " | "[X] ") => ("☑ ", &item[4..]),
            _ => ("", item),
        };
        let bullet = if indent.is_empty() { "- " } else { "◦ " };
        return format!("{indent}{bullet}{box_}{}", inline(item, style));
    }
    format!("{indent}{}", inline(rest, style))
}

/// White space before a line, of spaces that a telephone has room for.
fn indentation(space: &str) -> String {
    let width: usize = space.chars().map(|c| if c == '\t' { 4 } else { 1 }).sum();
    " ".repeat(width.min(12))
}

/// `---`, `* * *`, `___`.
fn is_rule(line: &str) -> bool {
    let mut signs = line.chars().filter(|c| !c.is_whitespace());
    let Some(first) = signs.next().filter(|c| matches!(c, '-' | '*' | '_')) else { return false };
    let rest: Vec<char> = signs.collect();
    rest.len() >= 2 && rest.iter().all(|c| *c == first)
}

fn heading(text: &str, style: &Style) -> String {
    let text = inline(text.trim(), &Style { bold: true, ..*style });
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("*{text}*") }
}

/// The text of a line: emphasis, code, links.
fn inline(text: &str, style: &Style) -> String {
    let chars: Vec<char> = text.chars().collect();
    spans(&chars, style)
}

fn spans(chars: &[char], style: &Style) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let length = match c {
            '\\' => escaped(chars, at, &mut out),
            '`' => code(chars, at, &mut out),
            '<' => autolink(chars, at, &mut out),
            '!' | '[' => link(chars, at, style, &mut out),
            '*' | '_' | '~' => emphasis(chars, at, style, &mut out),
            'h' | 'w' if !after_word(chars, at) => address(chars, at, &mut out),
            _ => None,
        };
        at += length.unwrap_or_else(|| {
            // A run of signs that means nothing is passed over whole.
            let run = if matches!(c, '*' | '_' | '~' | '`') { run(chars, at) } else { 1 };
            out.extend(&chars[at..at + run]);
            run
        });
    }
    out
}

fn after_word(chars: &[char], at: usize) -> bool {
    at > 0 && chars[at - 1].is_alphanumeric()
}

/// How many of the same sign stand here.
fn run(chars: &[char], at: usize) -> usize {
    chars[at..].iter().take_while(|c| **c == chars[at]).count()
}

/// `\*`: the sign itself; one that looks like it where WhatsApp would take it for
/// formatting.
fn escaped(chars: &[char], at: usize, out: &mut String) -> Option<usize> {
    let sign = *chars.get(at + 1).filter(|c| c.is_ascii_punctuation())?;
    let alone = |c: Option<&char>| c.is_none_or(|c| c.is_whitespace());
    let harmless = alone(chars.get(at + 2)) && (at == 0 || alone(chars.get(at - 1)));
    let within = after_word(chars, at) && chars.get(at + 2).is_some_and(|c| c.is_alphanumeric());
    out.push(match sign {
        '*' if !harmless => '∗',
        '_' if !harmless && !within => 'ˍ',
        '~' if !harmless => '∼',
        '`' => 'ˋ',
        other => other,
    });
    Some(2)
}

/// `` `code` ``, which stays as it is.
fn code(chars: &[char], at: usize, out: &mut String) -> Option<usize> {
    let marks = run(chars, at);
    let end = code_end(chars, at, marks)?;
    let inner: String = chars[at + marks..end].iter().collect();
    let inner = if marks > 1 { inner.trim() } else { &inner };
    match marks {
        1 | 2 => out.push_str(&format!("`{}`", inner.replace('`', "'"))),
        _ => out.push_str(&format!("```{inner}```")),
    }
    Some(end + marks - at)
}

fn code_end(chars: &[char], at: usize, marks: usize) -> Option<usize> {
    let mut end = at + marks;
    let last = chars.len().min(at + REACH);
    while end < last {
        if chars[end] == '`' {
            let found = run(chars, end);
            if found == marks {
                return (end > at + marks).then_some(end);
            }
            end += found;
        } else {
            end += 1;
        }
    }
    None
}

/// `<https://example.org>`.
fn autolink(chars: &[char], at: usize, out: &mut String) -> Option<usize> {
    let length = chars[at..].iter().take(REACH).position(|c| *c == '>')?;
    let inner: String = chars[at + 1..at + length].iter().collect();
    let address = ["http://", "https://", "mailto:"].iter().any(|p| inner.starts_with(p));
    (address && !inner.contains(char::is_whitespace)).then(|| {
        out.push_str(inner.strip_prefix("mailto:").unwrap_or(&inner));
        length + 1
    })
}

/// `[text](address)` and `![text](address)`.
fn link(chars: &[char], at: usize, style: &Style, out: &mut String) -> Option<usize> {
    let open = if chars[at] == '!' { at + 1 } else { at };
    (chars.get(open) == Some(&'[') && style.depth < DEPTH).then_some(())?;
    let close = matching(chars, open, '[', ']')?;
    (chars.get(close + 1) == Some(&'(')).then_some(())?;
    let end = matching(chars, close + 1, '(', ')')?;
    let inside: String = chars[close + 2..end].iter().collect();
    let mut parts = inside.trim().splitn(2, char::is_whitespace);
    let url = parts.next().unwrap_or_default().trim_matches(['<', '>']).to_owned();
    let title = parts.next().unwrap_or_default().trim();
    let raw: String = chars[open + 1..close].iter().collect();
    let text = inline(&raw, &Style { depth: style.depth + 1, ..*style });
    let bare = url.strip_prefix("mailto:").unwrap_or(&url);
    let note = if title.is_empty() { String::new() } else { format!(" {title}") };
    out.push_str(&match (raw.trim(), bare) {
        ("", _) => format!("{bare}{note}"),
        (_, "") => format!("{text}{note}"),
        (raw, bare) if raw == bare => format!("{bare}{note}"),
        _ => format!("{text} ({bare}{note})"),
    });
    Some(end + 1 - at)
}

/// Where the bracket that opens at `at` closes.
fn matching(chars: &[char], at: usize, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut place = at;
    while place < chars.len().min(at + REACH) {
        match chars[place] {
            '\\' => place += 1,
            c if c == open => depth += 1,
            c if c == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}

/// An address in the text, which no sign in it changes.
fn address(chars: &[char], at: usize, out: &mut String) -> Option<usize> {
    let length = address_length(chars, at)?;
    out.extend(&chars[at..at + length]);
    Some(length)
}

fn address_length(chars: &[char], at: usize) -> Option<usize> {
    let begins = |word: &str| word.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    (begins("http://") || begins("https://") || begins("www.")).then_some(())?;
    let ends = |c: &&char| !c.is_whitespace() && !matches!(c, '<' | '>' | '"' | '`');
    let whole = chars[at..].iter().take_while(ends).count();
    let signs = chars[at..at + whole].iter().rev().take_while(|c| matches!(c, '*' | '_' | '~'));
    Some(whole - signs.count())
}

/// `**bold**`, `_italic_`, `~~strike~~` and their like.
fn emphasis(chars: &[char], at: usize, style: &Style, out: &mut String) -> Option<usize> {
    let (sign, marks) = (chars[at], run(chars, at));
    let (bold, italic, strike) = match (sign, marks) {
        ('*', 1) if style.markdown => (false, true, false),
        ('*', 1) | ('*' | '_', 2) => (true, false, false),
        ('_', 1) => (false, true, false),
        ('*' | '_', 3) => (true, true, false),
        ('~', 1 | 2) => (false, false, true),
        _ => return None,
    };
    (style.depth < DEPTH).then_some(())?;
    let end = emphasis_end(chars, at, marks)?;
    let bold = bold && !style.bold;
    let inner =
        Style { markdown: style.markdown, bold: style.bold || bold, depth: style.depth + 1 };
    let text = spans(&chars[at + marks..end], &inner);
    let next = chars.get(end + marks);
    // In the middle of a word WhatsApp shows the signs; there the text has none.
    let at_border = !after_word(chars, at) && !next.is_some_and(|c| c.is_alphanumeric());
    let whole = text.trim() == text && !text.is_empty();
    let marks_of: String = [(bold, '*'), (italic, '_'), (strike, '~')]
        .into_iter()
        .filter_map(|(is, mark)| (is && at_border && whole).then_some(mark))
        .collect();
    let closing: String = marks_of.chars().rev().collect();
    out.push_str(&format!("{marks_of}{text}{closing}"));
    Some(end + marks - at)
}

/// Where the same number of the same signs ends what begins at `at`.
fn emphasis_end(chars: &[char], at: usize, marks: usize) -> Option<usize> {
    let sign = chars[at];
    let first = at + marks;
    if chars.get(first).is_none_or(|c| c.is_whitespace()) || (sign == '_' && after_word(chars, at))
    {
        return None;
    }
    let mut place = first;
    while place < chars.len().min(at + REACH) {
        match chars[place] {
            '\\' => place += 2,
            '`' => {
                let ticks = run(chars, place);
                place = code_end(chars, place, ticks).unwrap_or(place) + ticks;
            }
            'h' | 'w' if !after_word(chars, place) => {
                place += address_length(chars, place).unwrap_or(1).max(1);
            }
            c if c == sign => {
                let found = run(chars, place);
                let ends = place > first
                    && !chars[place - 1].is_whitespace()
                    && !(sign == '_' && continues(chars, place + found));
                if found == marks && ends {
                    return Some(place);
                }
                place += found;
            }
            _ => place += 1,
        }
    }
    None
}

/// Whether a name goes on here, as in `__init__.py` and `__call__()`.
fn continues(chars: &[char], at: usize) -> bool {
    let more = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == ')');
    more(at) && chars[at] != ')' || matches!(chars.get(at), Some('.' | '(')) && more(at + 1)
}

#[cfg(test)]
mod tests;
