//! What the properties are tried with.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::Value;

/// Where failures are kept, and how many cases there are.
pub fn config() -> ProptestConfig {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..ProptestConfig::default()
    }
}

/// What parsers stumble over.
const ODD: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"9223372036854775808",
    b"0.5",
    b"\xef\xbb\xbf",
    b"../..",
    b"/",
    b"~",
    b"*",
    b"*/0",
    b"0-99",
    b"60",
    b"L",
    b"#",
    b"=",
    b" ",
    b"type",
    b"\xe2\x80\xae",
];

#[derive(Clone, Debug)]
enum Change {
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Flip(Index, u8),
}

/// Bytes that are almost one of `seeds`, or nothing like them.
pub fn near(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(ODD).prop_map(<[u8]>::to_vec);
    let piece = prop_oneof![3 => odd, 1 => prop::collection::vec(any::<u8>(), 0..8)];
    let at = any::<Index>;
    let change = prop_oneof![
        at().prop_map(Change::Cut),
        (at(), 1..12_usize).prop_map(|(i, n)| Change::Remove(i, n)),
        (at(), piece).prop_map(|(i, p)| Change::Insert(i, p)),
        (at(), 1..300_usize).prop_map(|(i, n)| Change::Repeat(i, n)),
        (at(), any::<u8>()).prop_map(|(i, b)| Change::Flip(i, b)),
    ];
    let mutated = (prop::sample::select(seeds), prop::collection::vec(change, 0..4))
        .prop_map(|(seed, changes)| changes.iter().fold(seed.as_bytes().to_vec(), apply));
    prop_oneof![8 => mutated, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn apply(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let place = |i: &Index| i.index(bytes.len() + 1);
    match change {
        Change::Cut(i) => bytes.truncate(place(i)),
        Change::Remove(i, n) => {
            let from = place(i);
            let to = (from + n).min(bytes.len());
            bytes.drain(from..to);
        }
        Change::Insert(i, piece) => {
            let at = place(i);
            bytes.splice(at..at, piece.iter().copied());
        }
        Change::Repeat(i, n) => {
            let at = place(i);
            let byte = bytes.get(at).copied().unwrap_or(b'[');
            bytes.splice(at..at, std::iter::repeat_n(byte, *n));
        }
        Change::Flip(i, b) => {
            let at = place(i);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= b;
            }
        }
    }
    bytes
}

/// Any JSON that a tool's arguments may be.
pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..5).prop_map(Value::from_iter),
        ]
    })
}
