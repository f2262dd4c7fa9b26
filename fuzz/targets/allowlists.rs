//! The two allowlists: a broken one lets in nobody, and nothing outside is mounted.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use nanoclaw::container::mounts::{self, Allowlist, Place};
use nanoclaw::router::allowlist::SenderAllowlist;

fuzz_target!(|text: &str| {
    let list = SenderAllowlist::parse(text);
    if serde_json::from_str::<serde_json::Value>(text).is_err() {
        assert!(list.problem().is_some() && !list.may_trigger("t:1", "ann"));
    }
    assert!(!(list.may_trigger("t:1", "ann") && list.drops("t:1", "ann")));
    let (list, asked) = text.split_once('\0').unwrap_or((text, text));
    let list = Allowlist::from_read(Ok(list.to_owned()));
    // The directories of any Linux: what is mounted is one, by its real name.
    let place = Place { user_home: Path::new("/usr"), own: &[], others: &[], is_main: true };
    for mount in mounts::resolve(asked, &list, &place).0 {
        assert!(list.is_ok() && mount.guest.starts_with("/workspace/extra/"));
        assert_eq!(mount.host.canonicalize().unwrap(), mount.host);
    }
});
