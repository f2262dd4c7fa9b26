//! What tokens cost: the one place with prices. Pure, but for reading the owner's file.
//!
//! In dollars for a million tokens, as Anthropic's price list has them on
//! 2026-11-20. What the meter does not see is taken for the dearer: a cache entry
//! for one that lives an hour, a prompt of Haiku 5.5 for a long one. A model that is
//! not in the list costs as much as the dearest. So a budget rather ends too early.
//!
//! `~/.config/nanoclaw/prices.json` goes before the list, for a contract of one's own
//! or a model on one's own machine: `{"llama": {"input": 0, "output": 0}}`. Names are
//! beginnings of the model's. A search of the web by the provider costs $10 for a
//! thousand, by the same list.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

use crate::db::Tokens;

/// When the list was last compared.
pub const AS_OF: &str = "2026-11-20";

/// One search of the web by the provider, millionths of a dollar.
pub const SEARCH: i64 = 10_000;

/// Dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    #[serde(default)]
    cache_write: f64,
    #[serde(default)]
    cache_read: f64,
}

const fn price(input: f64, output: f64, cache_write: f64, cache_read: f64) -> Price {
    Price { input, output, cache_write, cache_read }
}

/// Beginnings of models' names; of those that fit the first counts.
const LIST: &[(&str, Price)] = &[
    ("practice", price(0.0, 0.0, 0.0, 0.0)),
    ("claude-fable-5-1", price(10.0, 50.0, 20.0, 0.25)),
    ("claude-mythos-5-1", price(10.0, 50.0, 20.0, 0.25)),
    ("claude-fable-5", price(10.0, 50.0, 20.0, 1.0)),
    ("claude-mythos-5", price(10.0, 50.0, 20.0, 1.0)),
    ("claude-opus-5-5", price(4.0, 20.0, 8.0, 0.2)),
    ("claude-opus-5", price(5.0, 25.0, 10.0, 0.5)),
    ("claude-opus-4-5", price(5.0, 25.0, 10.0, 0.5)),
    ("claude-opus-4-6", price(5.0, 25.0, 10.0, 0.5)),
    ("claude-opus-4-7", price(5.0, 25.0, 10.0, 0.5)),
    ("claude-opus-4-8", price(5.0, 25.0, 10.0, 0.5)),
    ("claude-sonnet-5-5", price(2.0, 10.0, 4.0, 0.1)),
    ("claude-sonnet-5", price(2.0, 10.0, 4.0, 0.2)),
    ("claude-sonnet-4", price(3.0, 15.0, 6.0, 0.3)),
    ("claude-3-7-sonnet", price(3.0, 15.0, 6.0, 0.3)),
    ("claude-3-5-sonnet", price(3.0, 15.0, 6.0, 0.3)),
    ("claude-haiku-5-5", price(0.5, 2.5, 1.0, 0.05)),
    ("claude-haiku-4", price(1.0, 5.0, 2.0, 0.1)),
    ("claude-3-5-haiku", price(0.8, 4.0, 1.6, 0.08)),
    ("claude-3-haiku", price(0.25, 1.25, 0.5, 0.03)),
];
const DEAREST: Price = price(15.0, 75.0, 30.0, 1.5);

/// The prices that hold for this owner.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    own: Vec<(String, Price)>,
}

impl Prices {
    /// With what reading the owner's file gave; a missing one is none. A broken one
    /// counts as none, and the second part says so.
    pub fn from_read(text: io::Result<String>) -> (Prices, Option<String>) {
        let read = match text {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return (Prices::default(), None),
            Err(e) => Err(e.to_string()),
            Ok(text) => serde_json::from_str::<BTreeMap<String, Price>>(&text)
                .map_err(|e| e.to_string())
                .and_then(|own| match own.values().all(Price::is_sane) {
                    true => Ok(own),
                    false => Err("a price is less than nothing".into()),
                }),
        };
        match read {
            Ok(own) => {
                let mut own: Vec<(String, Price)> = own.into_iter().collect();
                own.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
                (Prices { own }, None)
            }
            Err(why) => (
                Prices::default(),
                Some(format!("prices.json cannot be used ({why}): the built-in prices count")),
            ),
        }
    }

    /// What these tokens of a model cost, in millionths of a dollar, rounded up.
    pub fn cost(&self, model: &str, tokens: &Tokens) -> i64 {
        let own = self.own.iter().map(|(name, price)| (name.as_str(), price));
        let found = own
            .chain(LIST.iter().map(|(name, price)| (*name, price)))
            .find(|(name, _)| model.starts_with(name));
        let price = found.map_or(&DEAREST, |(_, price)| price);
        let part = |count: i64, price: f64| count.max(0) as f64 * price;
        (part(tokens.input, price.input)
            + part(tokens.output, price.output)
            + part(tokens.cache_write, price.cache_write)
            + part(tokens.cache_read, price.cache_read))
        .ceil() as i64
    }
}

impl Price {
    fn is_sane(&self) -> bool {
        [self.input, self.output, self.cache_write, self.cache_read]
            .iter()
            .all(|p| (0.0..1e6).contains(p))
    }
}

/// An amount of millionths as people write it: `$1.50`, and cents in full below one.
pub fn dollars(millionths: i64) -> String {
    let cents = millionths as f64 / 10_000.0;
    if millionths != 0 && cents < 1.0 {
        format!("${:.4}", cents / 100.0)
    } else {
        format!("${:.2}", cents / 100.0)
    }
}

/// Reads `5`, `2.50` or `$2.50`; more than nothing, at most a million.
pub fn parse_dollars(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches('$');
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let dollars: f64 = plain.then(|| text.parse().ok())??;
    let millionths = (dollars * 1e6).round();
    (1.0..=1e12).contains(&millionths).then_some(millionths as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MILLION: Tokens = Tokens { input: 1_000_000, output: 0, cache_read: 0, cache_write: 0 };

    #[test]
    fn a_dated_name_costs_as_its_model_and_an_unknown_one_as_the_dearest() {
        let list = Prices::default();
        let millions = |model| list.cost(model, &MILLION) / 1_000_000;
        assert_eq!(millions("claude-sonnet-5-5-20260928"), 2);
        assert_eq!(millions("claude-opus-4-1-20250805"), 15);
        assert_eq!(millions("claude-opus-4-8"), 5);
        assert_eq!(millions("something-else"), 15);
        assert_eq!(list.cost("practice", &MILLION), 0);
        let all = Tokens { input: 10, output: 10, cache_read: 10, cache_write: 10 };
        assert_eq!(list.cost("claude-opus-5-5", &all), 40 + 200 + 2 + 80);
    }

    #[test]
    fn the_owner_s_prices_go_before_the_list_and_a_broken_file_is_told() {
        let text = r#"{"claude-opus": {"input": 1, "output": 2}, "claude-opus-5": {"input": 3, "output": 4}}"#;
        let (own, wrong) = Prices::from_read(Ok(text.into()));
        assert_eq!((own.cost("claude-opus-5-5", &MILLION), wrong), (3_000_000, None));
        assert_eq!(own.cost("claude-opus-4-1", &MILLION), 1_000_000);
        for bad in ["{", r#"{"x": {"input": -1, "output": 0}}"#, r#"{"x": 1}"#] {
            let (list, wrong) = Prices::from_read(Ok(bad.into()));
            assert!(wrong.is_some() && list.cost("x", &MILLION) == 15_000_000, "{bad}");
        }
    }

    #[test]
    fn amounts_are_read_and_written_as_people_do() {
        assert_eq!(parse_dollars("$2.50"), Some(2_500_000));
        assert_eq!(parse_dollars("5"), Some(5_000_000));
        for bad in ["", "0", "-1", "5 dollars", "1e9", ".", "1.2.3", "9999999999"] {
            assert_eq!(parse_dollars(bad), None, "{bad}");
        }
        assert_eq!([dollars(1_500_000), dollars(0), dollars(1234)], ["$1.50", "$0.00", "$0.0012"]);
    }
}
