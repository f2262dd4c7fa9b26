//! Tables: columns of one width where a telephone has room for them, else one
//! paragraph a row.

use std::collections::BTreeSet;

use super::{Style, inline};

/// Characters of a fixed-width line that a telephone shows without breaking it.
const WIDTH: usize = 34;
/// The longest head of a column that is repeated in each row, in characters.
const LABEL: usize = 60;

/// The table that `lines` begins with: how many lines it has, and what they become.
pub fn read(lines: &[&str], style: &Style) -> Option<(usize, Vec<String>)> {
    let [head, border, ..] = lines else { return None };
    (head.contains('|') && is_border(border)).then_some(())?;
    let head = cells(head);
    if head.len() != cells(border).len() {
        return None;
    }
    let body: Vec<Vec<String>> =
        lines[2..].iter().take_while(|line| is_row(line)).map(|line| cells(line)).collect();
    let taken = 2 + body.len();
    let shown = columns(&head, &body).unwrap_or_else(|| paragraphs(&head, &body, style));
    Some((taken, shown))
}

fn is_row(line: &str) -> bool {
    line.contains('|') && !line.trim().is_empty()
}

/// `|---|:-:|`.
fn is_border(line: &str) -> bool {
    let signs = line.trim();
    signs.contains('-')
        && signs.contains('|')
        && signs.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let line = line.strip_suffix('|').filter(|rest| !rest.ends_with('\\')).unwrap_or(line);
    let (mut cells, mut cell, mut rest) = (Vec::new(), String::new(), line.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.peek() == Some(&'|') => cell.extend(rest.next()),
            '|' => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    let clean =
        |cell: &String| cell.replace("<br>", " / ").replace("<br/>", " / ").trim().to_owned();
    cells.iter().map(clean).collect()
}

/// A code block, if the rows fit in a telephone's width; formatting in it would not show.
fn columns(head: &[String], body: &[Vec<String>]) -> Option<Vec<String>> {
    let rows: Vec<&[String]> =
        std::iter::once(head).chain(body.iter().map(Vec::as_slice)).collect();
    let plain = |cell: &String| !cell.contains(['*', '_', '`', '[', '~', '\\']);
    let count = rows.iter().map(|row| row.len()).max().filter(|count| *count <= WIDTH)?;
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let total = widths.iter().sum::<usize>() + 2 * (count - 1);
    if total > WIDTH || !rows.iter().all(|row| row.iter().all(plain)) {
        return None;
    }
    let row = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut shown = vec!["```".to_owned(), row(head)];
    shown.push("-".repeat(total));
    shown.extend(body.iter().map(|cells| row(cells)));
    shown.push("```".into());
    Some(shown)
}

/// `*first cell*`, then each further cell behind the head of its column.
fn paragraphs(head: &[String], body: &[Vec<String>], style: &Style) -> Vec<String> {
    let bold = |text: &String| {
        let text = inline(text, &Style { bold: true, ..*style });
        if text.is_empty() { text } else { format!("*{text}*") }
    };
    if body.is_empty() {
        return vec![head.iter().map(bold).collect::<Vec<_>>().join(", ")];
    }
    let mut shown = Vec::new();
    let filled = body.iter().flat_map(|row| row.iter().enumerate());
    let filled: BTreeSet<usize> =
        filled.filter(|(_, cell)| !cell.is_empty()).map(|(place, _)| place).collect();
    let labels: Vec<String> = head.iter().map(|head| inline(head, style)).collect();
    let repeats = |place: usize| labels[place].chars().nth(LABEL).is_none();
    // What heads the first column, or one that no row fills, stands nowhere else.
    let once = |place: &usize| *place == 0 || !filled.contains(place) || !repeats(*place);
    let heads: Vec<&str> = (0..head.len())
        .filter(once)
        .map(|place| labels[place].trim_matches(['_', '*']))
        .filter(|head| !head.is_empty())
        .collect();
    if !heads.is_empty() {
        shown.push(format!("_{}_", heads.join(", ")));
    }
    for row in body {
        if !shown.is_empty() {
            shown.push(String::new());
        }
        shown.extend(row.first().map(bold));
        for (place, cell) in row.iter().enumerate().skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let cell = inline(cell, style);
            match head.get(place).filter(|head| !head.is_empty() && repeats(place)) {
                Some(_) => shown.push(format!("{}: {cell}", labels[place])),
                None => shown.push(cell),
            }
        }
    }
    shown
}
