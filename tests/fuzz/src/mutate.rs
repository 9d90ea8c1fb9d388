//! Changes of an input: small ones, and such as parsers trip over.

use fastrand::Rng;

/// Longest input that is made.
const MAX_BYTES: usize = 16 << 10;

/// Pieces that mean something to somebody.
const TOKENS: &[&str] = &[
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e-400",
    "0.0000000001",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\\ud800",
    "\u{0}",
    "é",
    "\u{feff}",
    "%00",
    "%",
    "%2F",
    "%zz",
    "+",
    "&",
    "=",
    "?",
    "/",
    "//",
    "..",
    ";",
    "\n",
    "\r\n",
    " ",
    "~0",
    "~1",
    "-",
    "$patch",
    "$retainKeys",
    "$setElementOrder/",
    "$deleteFromPrimitiveList/",
    "9999-12-31T23:59:60Z",
    "0000-00-00T00:00:00Z",
    "+24:00",
    "n",
    "u",
    "m",
    "k",
    "Ki",
    "Ei",
    "E",
    "e",
    "in (",
    "notin (",
    "!",
    "==",
    "!=",
    "metadata",
    "spec",
    "status",
    "labels",
    "ownerReferences",
    "finalizers",
    "resourceVersion",
    "limit=",
    "continue=",
    "watch=true",
    "labelSelector=",
    "fieldSelector=",
    "timeoutSeconds=",
    "resourceVersionMatch=",
    "sendInitialEvents=true",
    "dryRun=All",
];

/// A new input, made of `base` and perhaps of `other`.
pub fn mutate(random: &mut Rng, base: &[u8], other: &[u8]) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..=random.usize(..4) {
        once(random, &mut input, other);
    }
    input.truncate(MAX_BYTES);
    input
}

fn once(random: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=16)).min(input.len());
    match random.u8(..10) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, random.u8(..)),
        4 | 5 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            input.splice(at..at, token.bytes());
        }
        6 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            input.splice(at..end, token.bytes());
        }
        7 => {
            // Again, and often.
            let piece = input[at..end].to_vec();
            for _ in 0..=random.usize(..64) {
                input.splice(at..at, piece.iter().copied());
            }
        }
        _ if !other.is_empty() => {
            let from = random.usize(..other.len());
            let to = (from + random.usize(..=64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => {}
    }
    input.truncate(MAX_BYTES);
}
