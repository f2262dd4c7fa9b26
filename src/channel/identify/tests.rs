//! Numbers that become names, whoever chose both.

use proptest::prelude::*;

use super::*;

fn named(text: &str, mentions: &[&str], name: &str) -> String {
    let mentions: Vec<String> = mentions.iter().map(|jid| (*jid).to_owned()).collect();
    with_names(text, &mentions, |_| Ok(name.to_owned())).expect("no ledger is asked")
}

#[test]
fn a_name_full_of_numbers_does_not_grow_with_each_mention() {
    let own = "12025550123@s.whatsapp.net";
    let name = "@12025550123@12025550123";
    let said = named("hi @12025550123, and @12025550123.", &[own; 40], name);
    assert_eq!(said, format!("hi @{name}, and @{name}."));
}

#[test]
fn only_a_whole_number_that_is_mentioned_becomes_a_name() {
    let mentions = ["1202@lid", "120255@lid", "@lid", "7@lid", "andy@lid"];
    let said = named("@1202 @120255, @12025 @ @7 @andy a@1202", &mentions, "Bob");
    assert_eq!(said, "@Bob @Bob, @12025 @ @7 @andy a@Bob");
    let many = "@1202 ".repeat(MENTIONS + 5);
    assert_eq!(named(&many, &mentions, "Bob").matches("@1202").count(), 5);
}

proptest! {
    /// The text beside the numbers stays, and what it grows by is the names alone.
    #[test]
    fn a_text_grows_by_its_names_and_loses_nothing(
        text in "([@0-4é ]|@123|@1234){0,60}",
        mentions in proptest::collection::vec("[0-4]{0,5}@(lid|s\\.whatsapp\\.net)", 0..8),
        name in "[@0-4N]{0,100}",
    ) {
        let mentions: Vec<&str> = mentions.iter().map(String::as_str).collect();
        let said = named(&text, &mentions, &name);
        let most = text.len() + text.matches('@').count() * name.len();
        prop_assert!(said.len() <= most);
        // A name that nothing else has shows what was replaced.
        let marked = named(&text, &mentions, "\u{1}");
        let numbers = marked.matches('\u{1}').count();
        prop_assert_eq!(marked.replace('\u{1}', &name), said);
        let rest: usize = marked.split('\u{1}').map(str::len).sum();
        prop_assert!(rest + numbers * 5 >= text.len() && rest + numbers * 3 <= text.len());
    }
}
