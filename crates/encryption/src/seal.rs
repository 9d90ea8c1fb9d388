//! What a value is sealed with, as a number: whether it is sealed as it would be now is asked at each write.

use std::collections::HashMap;

use parking_lot::Mutex;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// More keys than anybody has. Values of any further one count as sealed otherwise than they would be now.
const MAX_SEALS: usize = 10_000;

/// Equal for values that were sealed with one key by one provider. Of one process: it is never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seal(u32);

impl Seal {
    /// Not encrypted.
    pub const PLAIN: Seal = Seal(0);
    /// By a key beyond those that are told apart.
    const OTHER: Seal = Seal(u32::MAX);
}

/// The numbers that were given out.
#[derive(Debug, Default)]
pub struct Seals {
    known: Mutex<HashMap<[u8; SHA256_OUTPUT_LEN], Seal>>,
}

impl Seals {
    /// That of a key, by all that tells it from others.
    pub fn of(&self, parts: &[&[u8]]) -> Seal {
        let digest = digest(parts);
        let mut known = self.known.lock();
        if let Some(seal) = known.get(&digest) {
            return *seal;
        }
        if known.len() >= MAX_SEALS {
            return Seal::OTHER;
        }
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let seal = Seal(next.saturating_add(1));
        known.insert(digest, seal);
        seal
    }
}

/// Of several pieces of bytes, so that no two lists of pieces have the same.
pub fn digest(parts: &[&[u8]]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; SHA256_OUTPUT_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let seals = Seals::default();
        let one = seals.of(&[b"ab", b"c"]);
        assert_eq!(one, seals.of(&[b"ab", b"c"]));
        assert_ne!(one, seals.of(&[b"a", b"bc"]));
        assert_ne!(one, Seal::PLAIN);
        for n in 0..MAX_SEALS {
            seals.of(&[n.to_string().as_bytes()]);
        }
        assert_eq!(seals.of(&[b"one more"]), Seal::OTHER);
        assert_eq!(one, seals.of(&[b"ab", b"c"]));
    }
}
