//! A QR code for a terminal: half blocks, black on white whatever the theme.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around the code, without which phones do not find it.
const QUIET: usize = 2;
/// Black on white in colours that no theme replaces.
const BEGIN: &str = "\x1b[38;5;16;48;5;231m";
const END: &str = "\x1b[0m";

/// The lines of the code, each with its colours; `None` if the text is too long for
/// any code.
pub fn lines(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, modules) = (code.width(), code.to_colors());
    let dark = |x: usize, y: usize| {
        let inside = x >= QUIET && y >= QUIET && x < width + QUIET && y < width + QUIET;
        inside && modules[(y - QUIET) * width + (x - QUIET)] == Color::Dark
    };
    let size = width + 2 * QUIET;
    let line = |y: usize| {
        let half = |x| match (dark(x, y), dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        format!("{BEGIN}{}{END}", (0..size).map(half).collect::<String>())
    };
    Some((0..size).step_by(2).map(line).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_half_blocks_are_the_code_in_explicit_colours() {
        let text = "2@".to_owned() + &"Ab3+".repeat(58);
        let lines = lines(&text).unwrap();
        let code = QrCode::with_error_correction_level(&text, EcLevel::L).unwrap();
        let (width, modules) = (code.width(), code.to_colors());
        let mut rows: Vec<Vec<bool>> = Vec::new();
        for line in &lines {
            let blocks = line.strip_prefix(BEGIN).unwrap().strip_suffix(END).unwrap();
            rows.push(blocks.chars().map(|c| matches!(c, '█' | '▀')).collect());
            rows.push(blocks.chars().map(|c| matches!(c, '█' | '▄')).collect());
        }
        let inner: Vec<bool> = rows[QUIET..QUIET + width]
            .iter()
            .flat_map(|row| row[QUIET..QUIET + width].to_vec())
            .collect();
        let dark: Vec<bool> = modules.iter().map(|m| *m == Color::Dark).collect();
        assert_eq!(inner, dark);
        assert!(lines.len() <= 37 && rows[0].len() <= 73, "it fits: {}", rows[0].len());
        assert!(rows[0].iter().chain(&rows[1]).all(|dark| !dark), "white around it");
    }

    #[test]
    fn what_fits_no_code_is_none() {
        assert!(lines(&"x".repeat(4000)).is_none());
    }
}
