//! What the kernel has.

use crate::{
    claims::Claims,
    conntrack::Flows,
    transaction::{self, Applied},
};

/// What the kernel has.
pub struct Programmed {
    /// It is not known, and the first transaction has to replace whatever is there.
    pub must_replace: bool,
    /// Whether clients of the table that is replaced keep their endpoints. Not in a transaction after one that was refused, for which
    /// they may be the reason.
    pub keeps_clients: bool,
    /// As the networks are.
    pub families: Vec<OfFamily>,
}

/// What it has in one family.
#[derive(Default)]
pub struct OfFamily {
    pub applied: Applied,
    pub claims: Claims,
}

impl Programmed {
    /// Nothing that is there is relied on.
    pub fn unknown(families: usize) -> Self {
        Self {
            must_replace: true,
            keeps_clients: true,
            families: (0..families).map(|_| OfFamily::default()).collect(),
        }
    }

    /// Notes what the kernel has taken; the UDP flows to look at now.
    pub fn accept(&mut self, next: Vec<Applied>) -> Vec<Flows> {
        self.must_replace = false;
        let families = self.families.iter_mut().zip(next);
        let flows = families.map(|(of, next)| {
            let is_served = |frontend: &_| of.claims.is_served(frontend);
            let flows = transaction::changed_flows(&of.applied, &next, is_served);
            of.applied.merge(next);
            flows
        });
        flows.collect()
    }
}
