//! What commands print of what others wrote: names, errors and results must not
//! steer the terminal that shows them.

use super::exit::Exit;

/// `println!` without what steers a terminal.
macro_rules! say {
    ($($argument:tt)*) => { println!("{}", $crate::cli::plain::plain(&format!($($argument)*))) };
}
pub(crate) use say;

/// Prints for programs: all of it, as JSON.
pub(super) fn json(facts: &impl serde::Serialize) -> anyhow::Result<Exit> {
    println!("{}", serde_json::to_string_pretty(facts)?);
    Ok(Exit::Ok)
}

/// `text` without control characters, newline and tab excepted, and without the marks
/// that turn the direction of what follows.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !steers(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal_and_everything_else_stays() {
        assert_eq!(
            plain("a\u{1b}[2J\rb\u{9b}1mc\u{202e}d\n\té 日\u{200d}"),
            "a[2Jb1mcd\n\té 日\u{200d}"
        );
    }
}
