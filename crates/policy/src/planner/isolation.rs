//! Which policies select a pod, and the chain that they make together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Planner, Pod};
use crate::{
    changes::Changes,
    model::{Clause, Direction, Policy, Ports, SetSpec},
    sets::SetId,
};

/// Most clauses of the policies of one pod in one direction: each costs a rule, which every packet to or from the pod may have to
/// pass. A pod with more is isolated from everybody.
const CHAIN_CLAUSES_MAX: usize = 4096;

/// Names a version of a policy; never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u64);

/// Names a chain; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    pub direction: Direction,
    pub number: u64,
}

pub struct PolicyInUse {
    pub policy: Arc<Policy>,
    /// How many pods of this node it selects.
    uses: usize,
    /// While it selects some.
    active: Option<Active>,
}

#[derive(Default)]
struct Active {
    clauses: [Option<Vec<Clause<SetId>>>; 2],
    sets: Vec<SetId>,
}

impl PolicyInUse {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            uses: 0,
            active: None,
        }
    }
}

type Key = (Direction, Vec<Clause<SetId>>);

/// Pods that the same policies select share their chains.
#[derive(Default)]
pub struct Chains {
    by_key: HashMap<Arc<Key>, ChainId>,
    chains: BTreeMap<ChainId, (Arc<Key>, usize)>,
    last: u64,
}

impl Chains {
    pub fn get(&self, id: ChainId) -> Option<&[Clause<SetId>]> {
        let (key, _) = self.chains.get(&id)?;
        Some(&key.1)
    }

    pub fn ids(&self) -> impl Iterator<Item = ChainId> {
        self.chains.keys().copied()
    }

    fn take(&mut self, key: Key, changes: &mut Changes) -> ChainId {
        if let Some(id) = self.by_key.get(&key) {
            if let Some((_, uses)) = self.chains.get_mut(id) {
                *uses += 1;
            }
            return *id;
        }
        self.last += 1;
        let id = ChainId {
            direction: key.0,
            number: self.last,
        };
        let key = Arc::new(key);
        changes.chain(id, false);
        self.by_key.insert(key.clone(), id);
        self.chains.insert(id, (key, 1));
        id
    }

    fn give_back(&mut self, id: ChainId, changes: &mut Changes) {
        let Some((_, uses)) = self.chains.get_mut(&id) else {
            return;
        };
        *uses -= 1;
        if *uses == 0
            && let Some((key, _)) = self.chains.remove(&id)
        {
            changes.chain(id, true);
            self.by_key.remove(&key);
        }
    }
}

impl Planner {
    /// Chooses a pod's policies and chains anew; sets that have to be filled, and policies that have one use less.
    pub(super) fn isolate(&mut self, pod: &mut Pod, goes: bool) -> (Vec<SetId>, Vec<PolicyId>) {
        let policies = if goes {
            BTreeSet::new()
        } else {
            self.selecting(pod)
        };
        let mut fresh = Vec::new();
        for id in policies.difference(&pod.policies) {
            self.activate(*id, &mut fresh);
        }
        let mut chains = [None, None];
        for direction in Direction::BOTH {
            let clauses = match &pod.facts {
                _ if goes => None,
                // Nobody knows who it is.
                None => Some(Vec::new()),
                Some(_) => self.clauses(&policies, direction),
            };
            let id =
                clauses.map(|clauses| self.chains.take((direction, clauses), &mut self.changes));
            chains[direction.index()] = id;
        }
        for old in std::mem::replace(&mut pod.chains, chains)
            .into_iter()
            .flatten()
        {
            self.chains.give_back(old, &mut self.changes);
        }
        let before = std::mem::replace(&mut pod.policies, policies);
        let idle = before.difference(&pod.policies).copied().collect();
        (fresh, idle)
    }

    /// The policies of a pod of this node.
    fn selecting(&self, pod: &Pod) -> BTreeSet<PolicyId> {
        let facts = pod.facts.as_ref();
        let Some(facts) = facts.filter(|facts| pod.is_here() && !facts.host_network) else {
            return BTreeSet::new();
        };
        let policies = self.current.get(&facts.namespace);
        let policies = policies.into_iter().flat_map(BTreeMap::values);
        policies
            .filter(|id| {
                let policy = self.policies.get(id);
                policy.is_some_and(|found| found.policy.selector.matches(&facts.labels))
            })
            .copied()
            .collect()
    }

    /// What policies allow together; none if none of them isolates.
    fn clauses(
        &mut self,
        policies: &BTreeSet<PolicyId>,
        direction: Direction,
    ) -> Option<Vec<Clause<SetId>>> {
        let mut all = BTreeSet::new();
        let mut isolates = None;
        for id in policies {
            let Some(found) = self.policies.get(id) else {
                continue;
            };
            let active = found.active.as_ref();
            if let Some(clauses) = active.and_then(|a| a.clauses[direction.index()].as_ref()) {
                isolates.get_or_insert_with(|| found.policy.clone());
                all.extend(clauses.iter().cloned());
            }
        }
        let first = isolates?;
        let everything = Clause {
            peers: None,
            ports: Ports::Any,
        };
        if all.contains(&everything) {
            return Some(vec![everything]);
        }
        if all.len() > CHAIN_CLAUSES_MAX {
            let text = format!(
                "the {} of a pod has {} combinations of peers and ports, more than {CHAIN_CLAUSES_MAX}: all of it is denied",
                direction.name(),
                all.len()
            );
            self.complaints.push((first, text));
            return Some(Vec::new());
        }
        Some(all.into_iter().collect())
    }

    /// One more pod is selected by a policy. Adds the sets that have to be filled.
    fn activate(&mut self, id: PolicyId, fresh: &mut Vec<SetId>) {
        let Some(found) = self.policies.get_mut(&id) else {
            return;
        };
        found.uses += 1;
        if found.active.is_some() {
            return;
        }
        let policy = found.policy.clone();
        let mut active = Active::default();
        let mut is_whole = true;
        for direction in Direction::BOTH {
            let Some(clauses) = &policy.clauses[direction.index()] else {
                continue;
            };
            let mut named = Vec::with_capacity(clauses.len());
            for clause in clauses {
                match self.with_sets(clause, &mut active.sets, fresh) {
                    Some(clause) => named.push(clause),
                    None => is_whole = false,
                }
            }
            active.clauses[direction.index()] = Some(named);
        }
        if let Some(text) = &policy.complaint {
            self.complaints.push((policy.clone(), text.clone()));
        }
        if !is_whole {
            let text = "there is no room for all that it allows: some of it is denied".to_owned();
            self.complaints.push((policy, text));
        }
        if let Some(found) = self.policies.get_mut(&id) {
            found.active = Some(active);
        }
    }

    /// A clause with the names of its sets; none if there is no room for one.
    fn with_sets(
        &mut self,
        clause: &Clause<Arc<SetSpec>>,
        taken: &mut Vec<SetId>,
        fresh: &mut Vec<SetId>,
    ) -> Option<Clause<SetId>> {
        let mut take = |spec: &Arc<SetSpec>| {
            let (id, is_new) = self.sets.take(spec, &self.namespaces, &mut self.changes)?;
            taken.push(id);
            if is_new {
                fresh.push(id);
            }
            Some(id)
        };
        let peers = match &clause.peers {
            None => None,
            Some(spec) => Some(take(spec)?),
        };
        let ports = match &clause.ports {
            Ports::Any => Ports::Any,
            Ports::Protocol(protocol) => Ports::Protocol(*protocol),
            Ports::Numbers(protocol, spec) => Ports::Numbers(*protocol, take(spec)?),
            Ports::Named(spec) => Ports::Named(take(spec)?),
        };
        Some(Clause { peers, ports })
    }

    /// One pod less is selected by a policy.
    pub(super) fn idle(&mut self, id: PolicyId) {
        let Some(found) = self.policies.get_mut(&id) else {
            return;
        };
        found.uses -= 1;
        if found.uses > 0 {
            return;
        }
        let active = found.active.take().unwrap_or_default();
        for set in active.sets {
            if self.sets.is_last_use(set) {
                self.empty(set);
            }
            self.sets.give_back(set, &mut self.changes);
        }
    }
}
