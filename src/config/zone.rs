//! The owner's time zone.
//!
//! The first valid IANA name of the environment, `.env` and the system; else
//! UTC, as in 1.x. A name that was given but is not valid is reported, so that
//! nobody wonders why a reminder comes hours late.

use std::path::Path;

use chrono_tz::{TZ_VARIANTS, Tz};

/// The zone that `name` means: IANA names and their aliases, in any case.
pub fn parse(name: &str) -> Option<Tz> {
    let name = name.trim();
    TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(name))
}

/// The first valid zone of `given` (pairs of a place such as `.env` and a name)
/// and `system`, else UTC; and one sentence for each name that is not valid.
pub fn resolve(given: &[(&str, Option<&str>)], system: Option<&str>) -> (Tz, Vec<String>) {
    let system_zone = system.and_then(parse);
    let fallback = system_zone.unwrap_or(Tz::UTC);
    let mut warnings = Vec::new();
    for (place, name) in given {
        let Some(name) = name else { continue };
        if let Some(zone) = parse(name) {
            return (zone, warnings);
        }
        warnings.push(format!(
            "TZ={name:?} in {place} is not a time zone and is passed over: use a name such as \
             Europe/Berlin (the system's is {fallback})"
        ));
    }
    (fallback, warnings)
}

/// The system's zone: what `localtime` (a link into the zone database) or
/// `timezone` in the directory `etc` says.
pub fn of_system(etc: &Path) -> Option<String> {
    let link = std::fs::read_link(etc.join("localtime")).ok();
    let linked = link.as_deref().and_then(Path::to_str).and_then(|target| {
        let (_, name) = target.split_once("zoneinfo/")?;
        Some(name.to_owned())
    });
    let written =
        || std::fs::read_to_string(etc.join("timezone")).ok().map(|text| text.trim().to_owned());
    linked
        .filter(|name| parse(name).is_some())
        .or_else(|| written().filter(|name| parse(name).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tz_04_known_zones_are_accepted_in_any_case() {
        for name in [
            "America/New_York",
            "UTC",
            "Asia/Tokyo",
            "Asia/Jerusalem",
            "utc",
            "EST5EDT",
            "Etc/GMT+5",
        ] {
            assert!(parse(name).is_some(), "{name}");
        }
        assert_eq!(parse("america/new_york"), Some(Tz::America__New_York));
    }

    #[test]
    fn tz_05_and_06_offsets_empty_and_garbage_are_refused() {
        for name in ["IST-2", "XYZ+3", "+05:30", "", "garbage", "../../etc/passwd"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn tz_07_a_valid_zone_is_kept() {
        let (zone, warnings) =
            resolve(&[("the environment", Some("Asia/Tokyo"))], Some("Europe/Berlin"));
        assert_eq!((zone, warnings.len()), (Tz::Asia__Tokyo, 0));
    }

    #[test]
    fn tz_03_and_08_an_invalid_zone_becomes_the_next_valid_one_or_utc() {
        let given = [("the environment", Some("IST-2")), (".env", Some("Asia/Tokyo"))];
        let (zone, warnings) = resolve(&given, Some("Europe/Berlin"));
        assert_eq!(zone, Tz::Asia__Tokyo);
        assert!(
            warnings.len() == 1 && warnings[0].contains("\"IST-2\" in the environment"),
            "{warnings:?}"
        );
        let (zone, warnings) = resolve(&given[..1], Some("Europe/Berlin"));
        assert_eq!((zone, warnings.len()), (Tz::Europe__Berlin, 1));
        assert_eq!(resolve(&given[..1], Some("nonsense")).0, Tz::UTC);
        assert_eq!(resolve(&[(".env", None)], None), (Tz::UTC, vec![]));
    }

    #[test]
    fn the_system_zone_is_the_link_or_else_the_file() {
        let etc = tempfile::tempdir().expect("a directory");
        assert_eq!(of_system(etc.path()), None);
        std::fs::write(etc.path().join("timezone"), "Asia/Tokyo\n").expect("write");
        assert_eq!(of_system(etc.path()).as_deref(), Some("Asia/Tokyo"));
        let link = etc.path().join("localtime");
        std::os::unix::fs::symlink("../usr/share/zoneinfo/America/New_York", link).expect("link");
        assert_eq!(of_system(etc.path()).as_deref(), Some("America/New_York"));
    }
}
