//! What each setting may say: text to value, or `None` for what is not allowed. Pure,
//! and the only place that knows these forms.

use std::time::Duration;

#[cfg(feature = "test-server")]
use super::{ConfigError, WhatsAppTest, settings, values::Values};
use crate::channel::pacing::Limits;
use crate::db::Emoji;

/// One container for each GiB: a working CLI takes 200 MB, its tools the rest.
pub fn containers_for(memory: Option<u64>) -> usize {
    memory.map_or(5, |bytes| (bytes >> 30).clamp(1, 16) as usize)
}

/// `Some(None)` for `off`.
pub fn pace(text: &str) -> Option<Option<Limits>> {
    if text == "off" {
        return Some(None);
    }
    let (in_chat, in_all) = text.trim().split_once(' ')?;
    let limits = Limits { in_chat: in_chat.parse().ok()?, in_all: in_all.trim().parse().ok()? };
    Some(Some(limits))
}

/// Text without control characters.
pub fn one_line(text: &str) -> Option<String> {
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Visible ASCII.
pub fn one_word(text: &str) -> Option<String> {
    text.bytes().all(|b| b.is_ascii_graphic()).then(|| text.to_owned())
}

/// A whole number within `range`.
pub fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    text.parse().ok().filter(|n| range.contains(n))
}

/// From a tenth of a second to a week.
pub fn milliseconds(text: &str) -> Option<Duration> {
    number(text, 100..=604_800_000).map(Duration::from_millis)
}

/// `Some(None)` for none.
pub fn reactions(text: &str) -> Option<Option<Emoji>> {
    if text == "off" {
        return Some(None);
    }
    let word = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    let [working, done, failed] = words.try_into().ok()?;
    // The longest emoji are families, of seven characters and joiners.
    let short = [&working, &done, &failed].iter().all(|word| word.chars().count() <= 10);
    short.then_some(Some(Emoji { working, done, failed }))
}

/// Both or none, and on this machine alone.
#[cfg(feature = "test-server")]
pub fn whatsapp_test(values: &Values) -> Result<Option<WhatsAppTest>, ConfigError> {
    let loopback = |scheme: &'static str| {
        move |text: &str| {
            let url = reqwest::Url::parse(text).ok()?;
            let host = url.host_str()?.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let here = url.scheme() == scheme && host.is_ok_and(|ip| ip.is_loopback());
            here.then(|| text.trim_end_matches('/').to_owned())
        }
    };
    let url = values.optional(&settings::NANOCLAW_WHATSAPP_URL, loopback("ws"))?;
    let media = values.optional(&settings::NANOCLAW_WHATSAPP_MEDIA, loopback("http"))?;
    match (url, media) {
        (Some(url), Some(media)) => Ok(Some(WhatsAppTest { url, media })),
        (None, None) => Ok(None),
        // Half of it would go to WhatsApp.
        (url, _) => {
            let missing = match url {
                None => &settings::NANOCLAW_WHATSAPP_URL,
                Some(_) => &settings::NANOCLAW_WHATSAPP_MEDIA,
            };
            values.required(missing, |_| None)
        }
    }
}

/// 0 is for ever.
pub fn days(text: &str) -> Option<Option<Duration>> {
    let days = number(text, 0..=36_500)?;
    Some((days > 0).then(|| Duration::from_secs(days * 86_400)))
}

/// The words of 1.x too.
pub fn log_level(text: &str) -> Option<tracing::Level> {
    let word = if text.eq_ignore_ascii_case("fatal") { "error" } else { text };
    // The crate takes numbers, too.
    word.parse().ok().filter(|_| word.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// With a host.
pub fn http_url(text: &str) -> Option<reqwest::Url> {
    reqwest::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Without what is no part of a base: user, query, fragment.
pub fn base_url(text: &str) -> Option<reqwest::Url> {
    http_url(text).filter(|url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        anonymous && url.query().is_none() && url.fragment().is_none()
    })
}
