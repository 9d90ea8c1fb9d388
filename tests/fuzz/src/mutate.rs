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

/// Numbers that mean something to somebody, in binary.
const NUMBERS: &[u32] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x00ff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// A new input, made of `base` and perhaps of `other`. `words` are the target's own.
pub fn mutate(
    random: &mut Rng,
    base: &[u8],
    other: &[u8],
    words: &'static [&'static str],
) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..=random.usize(..4) {
        once(random, &mut input, other, words);
    }
    input.truncate(MAX_BYTES);
    input
}

fn word(random: &mut Rng, words: &'static [&'static str]) -> &'static str {
    let from = match words {
        [] => TOKENS,
        _ if random.u8(..4) == 0 => TOKENS,
        _ => words,
    };
    from[random.usize(..from.len())]
}

/// One to four bytes of one of [`NUMBERS`], in either order.
fn number(random: &mut Rng) -> Vec<u8> {
    let number = NUMBERS[random.usize(..NUMBERS.len())];
    let length = [1, 2, 4][random.usize(..3)];
    match random.bool() {
        true => number.to_be_bytes()[4 - length..].to_vec(),
        false => number.to_le_bytes()[..length].to_vec(),
    }
}

fn once(random: &mut Rng, input: &mut Vec<u8>, other: &[u8], words: &'static [&'static str]) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=16)).min(input.len());
    match random.u8(..11) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, random.u8(..)),
        4 | 5 => {
            let word = word(random, words);
            input.splice(at..at, word.bytes());
        }
        6 => {
            let word = word(random, words);
            input.splice(at..end, word.bytes());
        }
        7 => {
            // Again, and often.
            let piece = input[at..end].to_vec();
            for _ in 0..=random.usize(..64) {
                input.splice(at..at, piece.iter().copied());
            }
        }
        8 => {
            let number = number(random);
            let end = (at + number.len()).min(input.len());
            input.splice(at..end, number);
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
