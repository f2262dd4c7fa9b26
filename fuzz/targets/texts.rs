//! What agents write, on its way to people: less what they say to themselves, cut, and
//! in WhatsApp's form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::prompt::{chat_text::chat_text, split::split, whatsapp};

fuzz_target!(|input: (u8, &str)| {
    let (most, text) = input;
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    if let Some(said) = chat_text(text) {
        assert!(letters(&said) <= letters(text) && !said.trim().is_empty());
    }
    let most = usize::from(most).max(64);
    let pieces = split(text, most);
    assert!(pieces.iter().all(|p| p.chars().count() <= most && !p.trim().is_empty()));
    if !text.contains(['`', '~']) {
        assert_eq!(letters(&pieces.concat()), letters(text));
    }
    whatsapp::format(text);
});
