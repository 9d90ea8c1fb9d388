//! What a certificate may be used for, as `certificates.k8s.io` names it.

use crate::Error;

/// Bits of the extension keyUsage, the first of RFC 5280 the lowest.
const KEY_USAGES: &[(&str, u16)] = &[
    ("signing", 1),
    ("digital signature", 1),
    ("content commitment", 1 << 1),
    ("key encipherment", 1 << 2),
    ("data encipherment", 1 << 3),
    ("key agreement", 1 << 4),
    ("cert sign", 1 << 5),
    ("crl sign", 1 << 6),
    ("encipher only", 1 << 7),
    ("decipher only", 1 << 8),
];

/// Purposes of the extension extKeyUsage, in the order in which they are written.
const EXTENDED: &[(&str, &[u32])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

/// Every name of a usage, sorted.
pub fn names() -> Vec<&'static str> {
    let key = KEY_USAGES.iter().map(|(name, _)| *name);
    let mut names: Vec<_> = key.chain(EXTENDED.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names
}

/// Whether this names a usage.
pub fn is_known(name: &str) -> bool {
    KEY_USAGES.iter().any(|(known, _)| *known == name)
        || EXTENDED.iter().any(|(known, _)| *known == name)
}

/// The bits, and the purposes' identifiers, of these usages.
pub(crate) fn of(usages: &[&str]) -> Result<(u16, Vec<&'static [u32]>), Error> {
    let unknown: Vec<&str> = usages
        .iter()
        .filter(|name| !is_known(name))
        .copied()
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Usages(format!("{unknown:?}").replace(", ", " ")));
    }
    let bits = KEY_USAGES
        .iter()
        .filter(|(name, _)| usages.contains(name))
        .fold(0, |bits, (_, bit)| bits | bit);
    let mut purposes: Vec<&'static [u32]> = EXTENDED
        .iter()
        .filter(|(name, _)| usages.contains(name))
        .map(|(_, arcs)| *arcs)
        .collect();
    purposes.dedup();
    Ok((bits, purposes))
}
