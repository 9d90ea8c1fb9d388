//! Why no node fits.

use std::collections::BTreeMap;

use crate::{
    framework::{CycleState, Reason, Refusal, Rejectors},
    snapshot::NodeInfo,
};

/// Why no node fits.
#[derive(Default)]
pub struct Rejection {
    /// What ruled out all nodes, whatever they are.
    pub everywhere: Option<Reason>,
    /// How many nodes each reason ruled out.
    pub reasons: BTreeMap<Reason, usize>,
    /// Who did: what they wait for has the pod tried again.
    pub rejectors: Rejectors,
    /// Slots of the nodes that only other pods keep it from.
    pub resolvable: Vec<usize>,
    /// What it was decided from.
    pub state: Option<CycleState>,
}

impl Rejection {
    /// Upstream's `FitError.Error`, of a cluster with so many nodes.
    pub fn message(&self, nodes: usize) -> String {
        match &self.everywhere {
            Some(why) if nodes > 0 => format!("0/{nodes} nodes are available: {why}."),
            _ => failure_message(nodes, &self.reasons),
        }
    }

    pub fn add(&mut self, node: &NodeInfo, filter: usize, refusal: Refusal) {
        self.rejectors.insert(filter);
        if refusal.resolvable {
            self.resolvable.push(node.slot);
        }
        for reason in refusal.reasons {
            self.add_reason(reason, 1);
        }
    }

    pub fn add_reason(&mut self, reason: Reason, nodes: usize) {
        let count = self.reasons.entry(reason).or_default();
        *count = count.saturating_add(nodes);
    }
}

/// Upstream's `FitError.Error`: reasons sorted as text, each with the number of nodes it ruled out.
pub fn failure_message(nodes: usize, reasons: &BTreeMap<Reason, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<_> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}
