//! What the documents name exists.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// Every function in `src` and `tests`.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    files_below(&root().join("src"), "rs", &mut files);
    files_below(&root().join("tests"), "rs", &mut files);
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            text.split("fn ")
                .skip(1)
                .map(|rest| {
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                        .next()
                        .unwrap()
                        .to_owned()
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_specification_names_tests_that_exist() {
    let functions = functions();
    let text = std::fs::read_to_string(root().join("SPECIFICATION.md")).unwrap();
    let mut checked = 0;
    for name in quoted(&text) {
        let path = ["src/", "tests/", "benches/", "docs/"].iter().any(|d| name.starts_with(d));
        let function = name.len() > 20
            && name.contains('_')
            && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
        if path {
            assert!(root().join(name).exists(), "SPECIFICATION.md names {name}");
        } else if function {
            assert!(functions.contains(name), "SPECIFICATION.md names {name}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} tests are named");
}

#[test]
fn paths_in_the_guides_exist() {
    for document in [
        "README.md",
        "CLAUDE.md",
        "docs/ARCHITECTURE.md",
        "docs/differences.md",
        "docs/socket-channel.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for name in quoted(&text) {
            let path = name.split([' ', ':', '*', '<']).next().unwrap();
            let ours = ["src/", "tests/", "docs/", "migrations/", "benches/"]
                .iter()
                .any(|d| path.starts_with(d));
            if ours && !name.contains(['*', '<', 'N']) {
                assert!(root().join(path).exists(), "{document} names {path}");
            }
        }
    }
}
