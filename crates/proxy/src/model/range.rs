//! Ranges of addresses as nft takes them.

use std::collections::BTreeSet;

use knarr_meta::prefix::Prefix;

/// The same addresses without a range within another, which nft does not take.
pub fn disjoint(mut ranges: Vec<Prefix>) -> Vec<Prefix> {
    // The widest first.
    ranges.sort_by_key(|range| (range.bits(), *range));
    let mut kept = BTreeSet::new();
    let mut disjoint = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut wider = (0..=range.bits()).map(|bits| Prefix::new(range.address(), bits));
        if !wider.any(|wider| kept.contains(&wider)) {
            kept.insert(range);
            disjoint.push(range);
        }
    }
    disjoint
}

#[cfg(test)]
mod tests;
