//! Addresses of one node's pods.

use std::{collections::HashSet, net::IpAddr};

use crate::range::Range;

/// The range's own address and the one that a node's bridge has: pods get those behind them, as upstream's host-local plugin does it.
const RESERVED: u128 = 2;

/// A range and what of it is taken.
#[derive(Debug)]
pub(crate) struct Pool {
    range: Range,
    taken: HashSet<IpAddr>,
    /// Where the next search begins: an address is not used again at once.
    next: u128,
}

impl Pool {
    pub(crate) fn new(range: Range) -> Self {
        Self {
            range,
            taken: HashSet::new(),
            next: RESERVED,
        }
    }

    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// A free address; `None` when there is none. A search costs as much as is taken at most.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        // The last one is for broadcasts.
        let end = self.range.size().checked_sub(1)?;
        let places = end.checked_sub(RESERVED)?;
        let tries = u128::try_from(self.taken.len()).ok()?.checked_add(1)?;
        for _ in 0..tries.min(places) {
            if !(RESERVED..end).contains(&self.next) {
                self.next = RESERVED;
            }
            let address = self.range.nth(self.next)?;
            self.next = self.next.saturating_add(1);
            if self.taken.insert(address) {
                return Some(address);
            }
        }
        None
    }

    /// Whether all that pods may have is taken.
    pub(crate) fn is_full(&self) -> bool {
        let free = self.range.size().saturating_sub(RESERVED.saturating_add(1));
        u128::try_from(self.taken.len()).is_ok_and(|taken| taken >= free)
    }

    /// Notes that a pod has an address already.
    pub(crate) fn occupy(&mut self, address: IpAddr) {
        if self.range.place(address).is_some() {
            self.taken.insert(address);
        }
    }

    pub(crate) fn free(&mut self, address: IpAddr) {
        self.taken.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: &str) -> Pool {
        Pool::new(range.parse().expect(range))
    }

    #[test]
    fn addresses_go_round() {
        let mut pool = pool("10.42.3.0/29");
        pool.occupy("10.42.3.3".parse().expect("an address"));
        pool.occupy("10.9.9.9".parse().expect("an address"));
        let mut taken = Vec::new();
        while let Some(address) = pool.take() {
            taken.push(address.to_string());
        }
        assert_eq!(taken, ["10.42.3.2", "10.42.3.4", "10.42.3.5", "10.42.3.6"]);
        assert!(pool.is_full());
        pool.free("10.42.3.4".parse().expect("an address"));
        assert!(!pool.is_full());
        assert_eq!(pool.take().map(|a| a.to_string()), Some("10.42.3.4".into()));
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn small_ranges_have_none() {
        for range in ["10.0.0.0/32", "10.0.0.0/31", "fd00::/128"] {
            assert_eq!(pool(range).take(), None, "{range}");
        }
        assert!(pool("fd00::/64").take().is_some());
    }
}
