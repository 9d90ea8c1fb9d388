//! Which policies select a pod, and the chain that they make together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Planner, Pod, Uid,
    chains::{CLAUSES_MAX, Key},
    cuts::Cut,
};
use crate::{
    ids::{ChainId, PolicyId, SetId},
    model::{Clause, Direction, Policy, Ports, SetSpec},
    quota::Full,
};

pub struct PolicyInUse {
    pub policy: Arc<Policy>,
    /// How many pods of this node it selects.
    uses: usize,
    /// While it selects some.
    pub(super) active: Option<Active>,
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

#[derive(Default)]
pub(super) struct Active {
    pub(super) clauses: [Option<Vec<Clause<SetId>>>; 2],
    sets: Vec<SetId>,
    /// Those for whose sets there was no room, and whose limit it was.
    pub(super) missing: Vec<(Direction, Clause<Arc<SetSpec>>, Full)>,
}

impl Planner {
    /// Chooses a pod's policies and chains anew; sets that have to be filled, and policies that have one use less.
    pub(super) fn isolate(
        &mut self,
        uid: &Uid,
        pod: &mut Pod,
        goes: bool,
    ) -> (Vec<SetId>, Vec<PolicyId>) {
        let policies = if goes {
            BTreeSet::new()
        } else {
            self.selecting(pod)
        };
        let mut fresh = Vec::new();
        for id in policies.difference(&pod.policies) {
            self.activate(*id, &mut fresh);
        }
        let (mut chains, mut cut) = ([None, None], [None, None]);
        for direction in Direction::BOTH {
            let place = direction.index();
            let key = match &pod.facts {
                _ if goes => None,
                // Nobody knows who it is.
                None => Some(Ok(Key::denies(direction))),
                Some(facts) => self.key(&facts.namespace, &policies, direction),
            };
            (chains[place], cut[place]) = match key {
                None => (None, None),
                Some(key) => self.chain_of(direction, key),
            };
        }
        for old in std::mem::replace(&mut pod.chains, chains)
            .into_iter()
            .flatten()
        {
            self.chains.give_back(old, &mut self.changes);
        }
        let before = std::mem::replace(&mut pod.policies, policies);
        let was_cut = std::mem::replace(&mut pod.cut, cut);
        if cut == [None, None] {
            self.cut.remove(uid);
            self.untold_pods.remove(uid);
        } else {
            self.cut.insert(uid.clone());
            if was_cut != cut || before != pod.policies {
                self.untold_pods.insert(uid.clone());
            }
        }
        let idle = before.difference(&pod.policies).copied().collect();
        (fresh, idle)
    }

    /// The chain of what is allowed, or one that denies all, and why.
    fn chain_of(
        &mut self,
        direction: Direction,
        key: Result<Key, Cut>,
    ) -> (Option<ChainId>, Option<Cut>) {
        let chain = key.and_then(|key| {
            let chain = self.chains.take(key, &mut self.changes);
            chain.map_err(Cut::Rules)
        });
        match chain {
            Ok(chain) => (Some(chain), None),
            Err(cut) => {
                // Costs nothing, so there is always room for it.
                let denies = self.chains.take(Key::denies(direction), &mut self.changes);
                (denies.ok(), Some(cut))
            }
        }
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

    /// What policies of a namespace allow together; none if none of them isolates.
    fn key(
        &self,
        namespace: &str,
        policies: &BTreeSet<PolicyId>,
        direction: Direction,
    ) -> Option<Result<Key, Cut>> {
        let active = policies.iter().filter_map(|id| self.active(*id));
        let lists = active.filter_map(|active| active.clauses[direction.index()].as_ref());
        let mut isolates = false;
        let mut all = BTreeSet::new();
        for clauses in lists {
            isolates = true;
            all.extend(clauses.iter().cloned());
        }
        if !isolates {
            return None;
        }
        let everything = Clause {
            peers: None,
            ports: Ports::Any,
        };
        if all.is_empty() {
            return Some(Ok(Key::denies(direction)));
        }
        let clauses = if all.contains(&everything) {
            vec![everything]
        } else if all.len() > CLAUSES_MAX {
            return Some(Err(Cut::Clauses(all.len())));
        } else {
            all.into_iter().collect()
        };
        Some(Ok(Key {
            direction,
            namespace: namespace.to_owned(),
            clauses,
        }))
    }

    pub(super) fn active(&self, id: PolicyId) -> Option<&Active> {
        self.policies.get(&id)?.active.as_ref()
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
        let mut wanted = Vec::new();
        for direction in Direction::BOTH {
            let Some(clauses) = &policy.clauses[direction.index()] else {
                continue;
            };
            active.clauses[direction.index()] = Some(Vec::with_capacity(clauses.len()));
            wanted.extend(clauses.iter().map(|clause| (direction, clause.clone())));
        }
        if let Some(text) = &policy.complaint {
            self.complaints.push((policy.clone(), text.clone()));
        }
        self.supply(id, &policy.namespace, &mut active, wanted, fresh);
        if !active.missing.is_empty() {
            self.partial.insert(id);
            self.untold_policies.insert(id);
        }
        if let Some(found) = self.policies.get_mut(&id) {
            found.active = Some(active);
        }
    }

    /// Adds clauses to what a policy allows, as far as there is room for their sets.
    pub(super) fn supply(
        &mut self,
        id: PolicyId,
        namespace: &str,
        active: &mut Active,
        wanted: Vec<(Direction, Clause<Arc<SetSpec>>)>,
        fresh: &mut Vec<SetId>,
    ) {
        for (direction, clause) in wanted {
            let mut taken = Vec::new();
            match self.with_sets(&clause, (namespace, id), &mut taken) {
                Ok(named) => {
                    if let Some(clauses) = &mut active.clauses[direction.index()] {
                        clauses.push(named);
                    }
                    active.sets.extend(taken.iter().map(|(set, _)| *set));
                    let is_new = taken.into_iter().filter(|(_, is_new)| *is_new);
                    fresh.extend(is_new.map(|(set, _)| set));
                }
                Err(full) => {
                    for (set, _) in taken {
                        self.sets.give_back(set, id, &mut self.changes);
                    }
                    active.missing.push((direction, clause, full));
                }
            }
        }
    }

    /// A clause with the names of its sets, which `taken` gets with whether they are new.
    ///
    /// # Errors
    /// There is no room for one of them.
    fn with_sets(
        &mut self,
        clause: &Clause<Arc<SetSpec>>,
        user: (&str, PolicyId),
        taken: &mut Vec<(SetId, bool)>,
    ) -> Result<Clause<SetId>, Full> {
        let mut take = |spec: &Arc<SetSpec>| {
            let set = self
                .sets
                .take(spec, user, &self.namespaces, &mut self.changes)?;
            taken.push(set);
            Ok(set.0)
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
        Ok(Clause { peers, ports })
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
        self.partial.remove(&id);
        self.untold_policies.remove(&id);
        for set in active.sets {
            if self.sets.is_last_use(set) {
                self.empty(set);
            }
            self.sets.give_back(set, id, &mut self.changes);
        }
    }
}
