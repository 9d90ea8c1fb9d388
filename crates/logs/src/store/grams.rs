//! Which blocks cannot have a text in them: a set of bits a block, one for each four bytes that follow one another there.
//!
//! Letters of ASCII count as lower case, so that one set answers for both ways to search. Names of namespaces, pods and
//! containers are in the same set, behind marks that no text of a line gives.
//!
//! Rejected: three bytes (all of those that hexadecimal numbers are made of are in every block, and numbers are what people
//! search for), an index of words (what is searched for begins and ends anywhere).

// Texts are of containers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

/// Bytes of a set.
pub const SET_BYTES: usize = 8 << 10;
const BITS: u32 = (SET_BYTES * 8).ilog2();
/// Bytes that make one bit; shorter texts are in no set.
pub const GRAM_BYTES: usize = 4;

/// What a name is of.
#[derive(Clone, Copy, Debug)]
pub enum Name {
    Namespace,
    Pod,
    Container,
}

/// The set of a block.
#[derive(Debug)]
pub struct Grams(Box<[u8; SET_BYTES]>);

impl Default for Grams {
    fn default() -> Self {
        Self(Box::new([0; SET_BYTES]))
    }
}

impl Grams {
    pub fn add_text(&mut self, text: &[u8]) {
        let mut gram = 0_u32;
        for (index, byte) in text.iter().enumerate() {
            gram = gram << 8 | u32::from(byte.to_ascii_lowercase());
            if index >= const { GRAM_BYTES - 1 } {
                self.add(bit_of(gram));
            }
        }
    }

    pub fn add_name(&mut self, what: Name, name: &str) {
        self.add(bit_of_name(what, name));
    }

    fn add(&mut self, bit: u32) {
        self.0[(bit >> 3) as usize] |= 1 << (bit & 7);
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0[..]
    }
}

/// What a block must have to be worth reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed(Vec<u32>);

impl Needed {
    /// A text that a line must contain; whether it is long enough to rule out any block.
    pub fn text(&mut self, literal: &[u8]) -> bool {
        let lower = literal.to_ascii_lowercase();
        for window in lower.windows(GRAM_BYTES) {
            let gram = window.iter().fold(0, |gram, b| gram << 8 | u32::from(*b));
            self.0.push(bit_of(gram));
        }
        literal.len() >= GRAM_BYTES
    }

    pub fn name(&mut self, what: Name, name: &str) {
        self.0.push(bit_of_name(what, name));
    }

    /// Whether the block of this set may have all of it.
    pub fn may_be_in(&self, set: &[u8]) -> bool {
        self.0.iter().all(|bit| {
            let byte = set.get((bit >> 3) as usize).copied().unwrap_or(0xff);
            byte & (1 << (bit & 7)) != 0
        })
    }
}

fn bit_of(gram: u32) -> u32 {
    gram.wrapping_mul(0x9e37_79b1) >> (32 - BITS)
}

/// FNV-1a, begun with what the name is of.
fn bit_of_name(what: Name, name: &str) -> u32 {
    let seed = 0x811c_9dc5 ^ (what as u32).wrapping_add(1);
    let hash = name.bytes().fold(seed, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    bit_of(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_block_is_never_ruled_out() {
        let mut grams = Grams::default();
        let text = b"GET /api/v1/orders/3fa94c21 200 12ms \xff\xfe";
        grams.add_text(text);
        grams.add_name(Name::Pod, "web-0");
        for from in 0..text.len() {
            for to in from..=text.len() {
                let mut needed = Needed::default();
                needed.text(&text[from..to].to_ascii_uppercase());
                assert!(needed.may_be_in(grams.bytes()), "{from}..{to}");
            }
        }
        for (wanted, pod, literal) in [
            (true, "web-0", &b""[..]),
            (false, "web-1", b""),
            (true, "web-0", b"orders"),
            (false, "web-0", b"border"),
            (false, "web-0", b"3fa94c22"),
            // Too short to tell.
            (true, "web-0", b"zzz"),
        ] {
            let mut needed = Needed::default();
            needed.name(Name::Pod, pod);
            assert_eq!(needed.text(literal), literal.len() >= GRAM_BYTES);
            assert_eq!(needed.may_be_in(grams.bytes()), wanted, "{pod} {literal:?}");
        }
    }
}
