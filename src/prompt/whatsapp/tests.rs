//! What each sign becomes, and what holds whatever an agent writes.

use super::format;

#[track_caller]
fn becomes(markdown: &str, shown: &str) {
    assert_eq!(format(markdown), shown, "{markdown:?}");
    assert_eq!(format(shown), shown, "what is shown stays: {shown:?}");
}

#[test]
fn emphasis_has_whatsapp_s_signs() {
    for (markdown, shown) in [
        ("**bold** text", "*bold* text"),
        ("__bold__ text", "*bold* text"),
        ("_italic_ text", "_italic_ text"),
        ("**bold** and *italic*", "*bold* and _italic_"),
        ("***both***", "*_both_*"),
        ("~~gone~~ here", "~gone~ here"),
        ("**bold with _italic_ in it**", "*bold with _italic_ in it*"),
        ("**a** **b**, (**c**)", "*a* *b*, (*c*)"),
        ("**Note:** read this", "*Note:* read this"),
        ("**outer **inner** outer**", "*outer **inner* outer**"),
    ] {
        assert_eq!(format(markdown), shown, "{markdown:?}");
    }
}

#[test]
fn what_is_written_for_whatsapp_stays() {
    for text in [
        "*bold* and _italic_ and ~gone~",
        "`code` and ```more code```",
        "- one\n- two\n\n1. first\n2. second",
        "> quoted\nanswer",
        "*Title*\n\ntext",
    ] {
        becomes(text, text);
    }
}

#[test]
fn signs_that_are_no_formatting_stay() {
    for text in [
        "snake_case_name and __init__.py_ish",
        "2 * 3 * 4 = 24",
        "5*3 and a**b",
        "https://example.org/a_b_c?x=*y*&z=~1~ is it",
        "see www.example.org/_x_/y",
        "a ~ b ~ c",
        "*not closed",
        "[not a link] and (brackets)",
        "price: 5$, 10 % #1 @you",
        "x < y > z & w",
        "C# and F#",
        "#hashtag",
        "C:\\Users\\ann",
        "1.5 and 2.5",
        "…",
    ] {
        becomes(text, text);
    }
}

#[test]
fn links_show_their_address() {
    for (markdown, shown) in [
        ("[the docs](https://example.org/a_b)", "the docs (https://example.org/a_b)"),
        ("[https://example.org](https://example.org)", "https://example.org"),
        ("![a cat](https://example.org/c.png)", "a cat (https://example.org/c.png)"),
        ("<https://example.org/x_y_z>", "https://example.org/x_y_z"),
        ("[mail](mailto:a@b.org)", "mail (a@b.org)"),
        ("[**bold**](https://e.org) now", "*bold* (https://e.org) now"),
        ("**[bold](https://e.org)**", "*bold (https://e.org)*"),
        ("[a](https://e.org/x_(y)) b", "a (https://e.org/x_(y)) b"),
        ("[a](https://e.org \"The title\")", "a (https://e.org \"The title\")"),
        ("**see https://e.org/a_b**", "*see https://e.org/a_b*"),
        ("[x](", "[x]("),
    ] {
        becomes(markdown, shown);
    }
}

#[test]
fn blocks_become_what_a_telephone_shows() {
    for (markdown, shown) in [
        ("# Title", "*Title*"),
        ("### **Title** ###", "*Title*"),
        ("Title\n=====\ntext", "*Title*\ntext"),
        ("a\n\n---\n\nb", "a\n\n──────────\n\nb"),
        ("* * *", "──────────"),
        ("* one\n* two\n  * deeper\n+ three", "- one\n- two\n  ◦ deeper\n- three"),
        ("1. one\n   - sub\n2) two", "1. one\n   ◦ sub\n2) two"),
        ("- [ ] to do\n- [x] done", "- ☐ to do\n- ☑ done"),
        ("> **said**\n>> before", "> *said*\n> before"),
        ("- **name**: text", "- *name*: text"),
        ("```rust\nlet a_b = **c;\n```\n**after**", "```\nlet a_b = **c;\n```\n*after*"),
        ("~~~\n# no title\n~~~", "```\n# no title\n```"),
        ("```\nnot closed **x**", "```\nnot closed **x**\n```"),
        ("use `a_b` and ``c`d``", "use `a_b` and `c'd`"),
    ] {
        assert_eq!(format(markdown), shown, "{markdown:?}");
    }
}

#[test]
fn tables_are_columns_or_lines() {
    let small = "| Day | Tea |\n|---|:-:|\n| Mon | 2 |\n| Tue | 11 |\nafter";
    assert_eq!(format(small), "```\nDay  Tea\n--------\nMon  2\nTue  11\n```\nafter");
    let wide = "| Name | What it does | Where |\n| --- | --- | --- |\n\
        | **tea** | makes water hot and then some | the kitchen |\n| b | c | |";
    assert_eq!(
        format(wide),
        "_Name_\n\n*tea*\nWhat it does: makes water hot and then some\nWhere: the kitchen\n\n*b*\nWhat it does: c"
    );
    assert_eq!(format("a | b\nno table"), "a | b\nno table");
    assert!(format("|a\\|b|c|\n|-|-|\n|1|2|").contains("a|b  c"));
}

#[test]
fn escaped_signs_are_no_formatting() {
    for (markdown, shown) in [
        ("snake\\_case", "snake_case"),
        ("2 \\* 3", "2 * 3"),
        ("\\*not bold\\*", "∗not bold∗"),
        ("1\\. no list \\[x\\]", "1. no list [x]"),
    ] {
        becomes(markdown, shown);
    }
}

#[test]
fn any_script_is_text() {
    for (markdown, shown) in [
        ("**שלום** עולם", "*שלום* עולם"),
        ("**مرحبا** بالعالم", "*مرحبا* بالعالم"),
        ("🎉 **party** 👨‍👩‍👧 _ok_ 👍🏽", "🎉 *party* 👨‍👩‍👧 _ok_ 👍🏽"),
        ("**Größe**: 5", "*Größe*: 5"),
    ] {
        assert_eq!(format(markdown), shown);
    }
    // Within a word WhatsApp knows no formatting.
    assert_eq!(format("这是**重要**的"), "这是重要的");
    assert_eq!(format("un**believ**able"), "unbelievable");
}

/// A small generator, so that a failure can be repeated: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap_or(0)
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most)).map(|_| parts[self.below(parts.len())]).collect()
    }
}

#[test]
fn no_word_is_lost_whatever_is_written() {
    const PARTS: &[&str] = &[
        "*",
        "**",
        "***",
        "_",
        "__",
        "~",
        "~~",
        "`",
        "```",
        "\n",
        "\n\n",
        " ",
        "  ",
        "# ",
        "> ",
        "- ",
        "1. ",
        "[",
        "]",
        "(",
        ")",
        "](",
        "<",
        ">",
        "|",
        "|-|-|\n",
        "---\n",
        "\\",
        "!",
        "https://e.org/a_b",
        "www.x",
        "é",
        "שלום",
        "日本",
        "👍🏽",
        "\u{200d}",
        "\t",
        "===\n",
        "\r\n",
        "\u{301}",
        "&",
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..20_000 {
        let mut text = String::new();
        let mut words = Vec::new();
        for n in 0..dice.below(12) {
            text += &dice.text(PARTS, 6);
            // Not right behind a fence: there a word is a language.
            if !text.ends_with(['`', '~']) {
                let word = format!("w{n}x");
                text += &word;
                words.push(word);
            }
        }
        text += &dice.text(PARTS, 4);
        let shown = format(&text);
        for word in words {
            // A language behind spaces, and what follows an address, aside.
            let fenced =
                text.lines().any(|line| super::Fence::open(line).is_some() && line.contains(&word));
            assert!(
                fenced || shown.contains(&word),
                "round {round}: {word} of {text:?} in {shown:?}"
            );
        }
    }
}

#[test]
fn plain_text_stays_whatever_it_says() {
    const PARTS: &[&str] = &[
        "word",
        "Ünïcode",
        "שלום",
        "日本語",
        "👍🏽",
        " ",
        ". ",
        ", ",
        "\n",
        "\n\n",
        "3.14",
        "a-b",
        "(x)",
        "50%",
        "'s",
        "?!",
        "e@mail.org",
        "…",
        "€",
    ];
    let mut dice = Dice(42);
    for _ in 0..5_000 {
        let text = dice.text(PARTS, 40);
        assert_eq!(format(&text), text);
    }
}

#[test]
fn long_runs_of_signs_take_no_time() {
    for sign in ["*", "_a", "[", "**a", "`", "~", "[a](", "> ", "|", "\\"] {
        let text = sign.repeat(5_000);
        assert!(format(&text).len() <= 2 * text.len() + 100, "{sign}");
    }
}
