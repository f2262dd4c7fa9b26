//! The points at which the program can be told to die, read out of its source: each
//! call of `crash::point`, with what it names.

use std::path::{Path, PathBuf};

/// Every point, such as `before Claim`.
pub fn all() -> Vec<String> {
    let mut points = Vec::new();
    for file in sources(&source("")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("crash::point(") {
            let call: Vec<&str> = text[at..].splitn(3, '"').collect();
            let (when, what) = (call[1], call[2].split(')').next().unwrap());
            points
                .extend(named(&file, when, what).into_iter().map(|name| format!("{when} {name}")));
        }
    }
    points.sort();
    points.dedup();
    points
}

/// What the second argument of a call can be.
fn named(file: &Path, when: &str, what: &str) -> Vec<String> {
    if let Some(word) = what.split('"').nth(1) {
        return vec![word.into()];
    }
    match file.file_name().unwrap().to_str().unwrap() {
        "rows.rs" => variants("turns/state.rs", "Effect").into_iter().filter(is_row).collect(),
        "actor.rs" => variants("turns/state.rs", "Effect"),
        "host.rs" => variants("ipc/record.rs", "HostRecord"),
        "mail.rs" | "guest.rs" => variants("ipc/record.rs", "GuestRecord"),
        "life.rs" if when.ends_with("hearing") => events(),
        "life.rs" if when.ends_with("obeying") => variants("channel/whatsapp/link.rs", "Wish"),
        "life.rs" | "send.rs" => variants("channel/whatsapp/link.rs", "Happened"),
        "backup.rs" => ["groups", "sessions", "out", "store"]
            .into_iter()
            .filter(|name| !(when == "backup before copying" && *name == "store"))
            .map(str::to_owned)
            .collect(),
        "migrate.rs" => {
            let versions = std::fs::read_dir(source("../migrations")).unwrap().count();
            (1..=versions).map(|version| version.to_string()).collect()
        }
        other => panic!("which points are in {other}?"),
    }
}

/// The events of WhatsApp's library that are heard.
fn events() -> Vec<String> {
    let text = std::fs::read_to_string(source("channel/whatsapp/life.rs")).unwrap();
    let arms = text.split("            Event::").skip(1);
    let names = arms.map(|arm| arm.split(|c: char| !c.is_alphanumeric()).next().unwrap());
    names.map(str::to_owned).collect()
}

/// The row effects are named in the one place that says which those are.
fn is_row(effect: &String) -> bool {
    let text = std::fs::read_to_string(source("turns/state.rs")).unwrap();
    let rows = text.split("pub fn is_row").nth(1).unwrap();
    let rows = rows.split("// ===").next().unwrap();
    rows.contains(&format!("Effect::{effect}"))
}

/// The names of an enum's variants.
fn variants(file: &str, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(source(file)).unwrap();
    let body = text.split(&format!("pub enum {name} {{\n")).nth(1).unwrap();
    let body = body.split("\n}\n").next().unwrap();
    let indented = body.lines().filter_map(|line| line.strip_prefix("    "));
    indented
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned())
        .collect()
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten().map(|e| e.path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = directories.iter().flat_map(|d| sources(d));
    files.into_iter().filter(|f| !f.ends_with("crash.rs")).chain(below).collect()
}
