//! What the documents and the skills name exists.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let texts = ["SPECIFICATION.md", "docs/faults.md", "docs/threat-model.md"]
        .map(|file| std::fs::read_to_string(root().join(file)).unwrap());
    let mut checked = 0;
    for name in texts.iter().flat_map(|text| quoted(text)) {
        let path = ["src/", "tests/", "benches/", "docs/"].iter().any(|d| name.starts_with(d));
        let function = name.len() > 20
            && name.contains('_')
            && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
        if path {
            assert!(root().join(name).exists(), "a promise or a fault names {name}");
        } else if function {
            assert!(functions.contains(name), "a promise or a fault names {name}");
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
        "docs/threat-model.md",
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

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a line of a program's help begins with this subcommand.
fn lists(help: &str, subcommand: &str) -> bool {
    help.lines().any(|line| line.trim_start().split([' ', ',']).next() == Some(subcommand))
}

#[test]
fn the_skills_name_what_exists() {
    let program = output(env!("CARGO_BIN_EXE_nanoclaw"), &["--help"]);
    let script = output("bash", &["nanoclaw.sh", "--help"]);
    assert!(lists(&program, "status") && lists(&script, "install"), "{program}{script}");
    let mut skills = Vec::new();
    files_below(&root().join("skills"), "md", &mut skills);
    assert!(skills.len() >= 3, "{skills:?}");
    for file in skills {
        let text = std::fs::read_to_string(&file).unwrap();
        let file = file.display();
        let head =
            text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).unwrap().0;
        for field in ["name: ", "description: "] {
            assert!(head.lines().any(|line| line.starts_with(field)), "{file} has no {field}");
        }
        assert!(text.lines().count() < 500, "{file} is too long");
        let blocks = text.lines().filter(|line| line.starts_with("    "));
        for code in quoted(&text).chain(blocks) {
            let words: Vec<&str> = code.split_whitespace().collect();
            for (n, word) in words.iter().enumerate() {
                let path = word.trim_end_matches([',', ';', '.', ':']);
                let ours = ["src/", "tests/", "docs/", "migrations/", "groups/", "skills/"]
                    .iter()
                    .any(|directory| path.starts_with(directory));
                if ours && !path.contains(['<', '*']) {
                    assert!(root().join(path).exists(), "{file} names {path}");
                }
                let named = words.get(n + 1).filter(|w| w.chars().all(|c| c.is_ascii_lowercase()));
                let Some(subcommand) = named else { continue };
                let known = match word.rsplit('/').next() {
                    Some("nanoclaw") => lists(&program, subcommand),
                    Some("nanoclaw.sh") => {
                        lists(&program, subcommand) || lists(&script, subcommand)
                    }
                    _ => true,
                };
                assert!(known, "{file} names the subcommand {subcommand} of {word}");
            }
        }
    }
}
