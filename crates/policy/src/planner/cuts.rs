//! What is denied for want of room: said once while it is so, and made good when room comes back.

use std::{collections::BTreeSet, sync::Arc};

use super::{Complaint, Planner, PolicyId, Uid, chains::CLAUSES_MAX};
use crate::{
    model::{Clause, Direction, Ports, SetSpec},
    quota::Full,
};

/// Why a chain denies what policies allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// They allow so many combinations of peers and ports.
    Clauses(usize),
    Rules(Full),
}

impl Cut {
    fn text(self, direction: Direction) -> String {
        let name = direction.name();
        match self {
            Self::Clauses(count) => format!(
                "the {name} of a pod has {count} combinations of peers and ports, more than {CLAUSES_MAX}: all of it is denied"
            ),
            Self::Rules(full) => format!("{full}: all {name} of some pods is denied"),
        }
    }
}

impl Planner {
    /// What users should know, once while it is so.
    pub fn take_complaints(&mut self) -> Vec<Complaint> {
        for (id, text) in self.untold() {
            if let Some(found) = self.policies.get(&id) {
                self.complaints.push((found.policy.clone(), text));
            }
        }
        std::mem::take(&mut self.complaints)
    }

    /// Gives room that has come back to those for whom there was none before.
    pub fn fill_up(&mut self) {
        if self.sets.take_freed() {
            for policy in self.partial.clone() {
                self.complete(policy);
            }
            for id in self.sets.take_cut() {
                self.fill(id);
            }
        }
        if self.chains.take_freed() {
            let wants_rules = |uid: &&Uid| {
                let pod = self.pods.get(*uid);
                pod.is_some_and(|pod| {
                    pod.cut
                        .iter()
                        .flatten()
                        .any(|cut| matches!(cut, Cut::Rules(_)))
                })
            };
            let again: Vec<Uid> = self.cut.iter().filter(wants_rules).cloned().collect();
            for uid in again {
                self.update(&uid);
            }
        }
    }

    /// What was cut since this was asked, and is so still: of which policies, and why.
    fn untold(&mut self) -> BTreeSet<(PolicyId, String)> {
        let mut told = BTreeSet::new();
        let some = |full: Full| format!("{full}: some of what this policy allows is denied");
        for (set, full) in self.sets.take_untold() {
            let users = self.sets.get(set).into_iter().flat_map(|set| set.users());
            told.extend(users.map(|id| (id, some(full))));
        }
        for id in std::mem::take(&mut self.untold_policies) {
            let missing = self.active(id).and_then(|active| active.missing.first());
            told.extend(missing.map(|(_, _, full)| (id, some(*full))));
        }
        let pods = std::mem::take(&mut self.untold_pods);
        for pod in pods.iter().filter_map(|uid| self.pods.get(uid)) {
            for direction in Direction::BOTH {
                let Some(cut) = pod.cut[direction.index()] else {
                    continue;
                };
                let allows = |id: &&PolicyId| {
                    let clauses = self.active(**id)?.clauses[direction.index()].as_ref();
                    clauses.filter(|clauses| !clauses.is_empty())
                };
                let whose = pod.policies.iter().filter(|id| allows(id).is_some());
                let text = cut.text(direction);
                told.extend(whose.map(|id| (*id, text.clone())));
            }
        }
        told
    }

    /// Takes the sets of a policy for which there was no room and is now.
    fn complete(&mut self, id: PolicyId) {
        let Some(found) = self.policies.get_mut(&id) else {
            return;
        };
        let policy = found.policy.clone();
        let Some(mut active) = found.active.take() else {
            return;
        };
        let namespace = &policy.namespace;
        let has_room = |(_, clause, _): &mut (_, Clause<Arc<SetSpec>>, _)| {
            let ports = match &clause.ports {
                Ports::Any | Ports::Protocol(_) => None,
                Ports::Numbers(_, spec) | Ports::Named(spec) => Some(spec),
            };
            let specs: Vec<_> = clause.peers.iter().chain(ports).collect();
            self.sets.has_room_for(namespace, &specs).is_ok()
        };
        // Asked first, as it is cheap: there may be many, at each change.
        let wanted: Vec<_> = active.missing.extract_if(.., has_room).collect();
        let changes = !wanted.is_empty();
        let wanted = wanted
            .into_iter()
            .map(|(direction, clause, _)| (direction, clause));
        let mut fresh = Vec::new();
        self.supply(id, namespace, &mut active, wanted.collect(), &mut fresh);
        if active.missing.is_empty() {
            self.partial.remove(&id);
            self.untold_policies.remove(&id);
        }
        if let Some(found) = self.policies.get_mut(&id) {
            found.active = Some(active);
        }
        if !changes {
            return;
        }
        for set in fresh {
            self.fill(set);
        }
        for uid in self.pods_in(namespace) {
            if self
                .pods
                .get(&uid)
                .is_some_and(|pod| pod.policies.contains(&id))
            {
                self.update(&uid);
            }
        }
    }
}
