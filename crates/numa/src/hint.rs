//! Where something could come from.

use std::collections::BTreeMap;

/// NUMA nodes as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mask(pub u64);

impl Mask {
    /// Most nodes that there may be numbers of.
    pub const NODES: usize = 64;

    /// Of these nodes; numbers from [`Self::NODES`] on are passed over.
    pub fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        let known = nodes.into_iter().filter(|node| *node < Self::NODES);
        Self(known.fold(0, |mask, node| mask | 1 << node))
    }

    /// How many nodes.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the node is one of them.
    #[must_use]
    pub fn has(self, node: usize) -> bool {
        node < Self::NODES && self.0 >> node & 1 == 1
    }

    /// In order.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        (0..Self::NODES).filter(move |node| self.has(*node))
    }

    /// Fewer nodes, or as many with lower numbers.
    #[must_use]
    pub fn is_narrower_than(self, other: Self) -> bool {
        match self.count() == other.count() {
            true => self < other,
            false => self.count() < other.count(),
        }
    }

    /// All sets of these nodes but the empty one, small ones first, those of a size in the order of their nodes.
    #[must_use]
    pub fn all_of(nodes: &[usize]) -> Vec<Self> {
        fn add(nodes: &[usize], of: Mask, left: usize, all: &mut Vec<Mask>) {
            if left == 0 {
                all.push(of);
                return;
            }
            for (index, node) in nodes.iter().enumerate() {
                let with = Mask(of.0 | Mask::of([*node]).0);
                add(&nodes[index + 1..], with, left - 1, all);
            }
        }
        let mut all = Vec::new();
        for size in 1..=nodes.len() {
            add(nodes, Self::default(), size, &mut all);
        }
        all
    }
}

/// One way to satisfy a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The nodes that it would take from; none where it does not matter.
    pub nodes: Option<Mask>,
    /// There is no better one.
    pub preferred: bool,
}

/// What one provider says by resource. Without an entry a resource does not matter, with an empty list it cannot be had.
pub type Hints = BTreeMap<String, Vec<Hint>>;
