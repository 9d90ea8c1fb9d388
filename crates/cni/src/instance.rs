//! Which cluster of a host something belongs to.
//!
//! Several clusters may share a machine. Whatever one makes outside of its data directory (tables, links, routes, addresses,
//! control groups) bears its identity, so that nobody removes another's.

use std::{fmt, fs::File, io, io::Read, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of an identity: short enough for names of links, long enough to be nobody else's.
const LENGTH: usize = 8;
/// How many of them links bear; the kernel allows 15 characters for a name.
const LINK_LENGTH: usize = 4;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LETTER_BITS: u32 = 5;

/// A cluster's identity on its host: eight lower-case letters and digits, chosen once for a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId([u8; LENGTH]);

impl InstanceId {
    /// A new one.
    #[expect(clippy::arithmetic_side_effects, reason = "there are letters")]
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(
            bytes.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]),
        ))
    }

    pub fn as_str(&self) -> &str {
        // Letters of ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How the names of all links of this cluster begin.
    pub fn link_prefix(&self) -> String {
        format!("knarr{}", &self.as_str()[..LINK_LENGTH])
    }

    /// The name of a link, by what it belongs to: found again without a record.
    pub(crate) fn link(&self, container_id: &str, ifname: &str) -> String {
        // FNV-1a: stable across builds, unlike the standard library's hasher.
        let mut hash = container_id
            .bytes()
            .chain([0])
            .chain(ifname.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut name = self.link_prefix();
        while name.len() < nix::libc::IFNAMSIZ - 1 {
            name.push(char::from(LETTERS[(hash & 31) as usize]));
            hash >>= LETTER_BITS;
        }
        name
    }

    /// The name of a second link of what [`InstanceId::link`] names, and as unlike it as another pod's.
    pub(crate) fn beside(&self, container_id: &str, ifname: &str) -> String {
        // No name of a link has a colon.
        self.link(container_id, &format!("{ifname}:"))
    }

    /// The bridge of this machine's nodes. None of its ports nor the overlay begin as links to pods do, which have rules of
    /// their own.
    pub(crate) fn bridge(&self) -> String {
        format!("kb-{self}")
    }

    /// How the bridge's ports begin.
    pub(crate) fn port_prefix(&self) -> String {
        format!("kv-{self}-")
    }

    /// The bridge's port of the node with this number.
    pub(crate) fn port(&self, number: u8) -> String {
        format!("{}{number}", self.port_prefix())
    }

    /// The link to nodes that are on none of ours.
    pub(crate) fn overlay(&self) -> String {
        format!("kx-{self}")
    }

    /// The link that the way to Services' addresses of IPv6 leads to.
    pub(crate) fn services(&self) -> String {
        format!("ks-{self}")
    }

    /// Metric of this cluster's routes of last resort: worse than what anybody chooses, and unlike another cluster's.
    pub(crate) fn route_metric(&self) -> u32 {
        0x4000_0000 | self.number()
    }

    /// The last bits of the identity, as a number of 30 bits.
    pub(crate) fn number(&self) -> u32 {
        let digits = self.0.iter().filter_map(|letter| {
            let place = LETTERS.iter().position(|other| other == letter)?;
            u32::try_from(place).ok()
        });
        let number = digits.fold(0u32, |number, digit| (number << LETTER_BITS) | digit);
        number & 0x3fff_ffff
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an identity.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the identity of a cluster")]
pub struct InvalidId(String);

impl FromStr for InstanceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = <[u8; LENGTH]>::try_from(text.as_bytes()).ok();
        bytes
            .filter(|bytes| bytes.iter().all(|byte| LETTERS.contains(byte)))
            .map(Self)
            .ok_or_else(|| InvalidId(text.to_owned()))
    }
}

impl Serialize for InstanceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
