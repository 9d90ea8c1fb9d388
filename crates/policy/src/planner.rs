//! Who may reach whom, brought up to date change by change.
//!
//! ```text
//! policies of a namespace -> those that select a pod of this node -> its chain in each direction: their clauses together
//! pods of all namespaces  -> the sets that clauses name, as far as a policy uses them that selects a pod here
//! ```
//!
//! A pod is known by its uid. Where one of this node is, the CNI plugin says before the pod starts (a claim), and that counts for
//! more than the API, which learns it later and forgets it too early: until the plugin takes an address back, its pod stays as
//! isolated as it was when it was last seen, and one that was never seen is isolated from everybody.

mod chains;
mod cuts;
mod isolation;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use chains::Chains;
use cuts::Cut;
use isolation::PolicyInUse;

pub use crate::ids::{ChainId, PolicyId};

#[cfg(test)]
use crate::quota::Limits;
use crate::{
    changes::Changes,
    model::{Clause, Direction, Labels, PodFacts, Policy},
    sets::{Member, SetId, Sets},
};

pub type Uid = Arc<str>;

/// No address comes before it: those of IPv4 are the lesser ones.
const LOWEST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A policy of which some allows nothing, and why.
pub type Complaint = (Arc<Policy>, String);

#[derive(Default)]
struct Pod {
    /// As it was seen last; none if it never was.
    facts: Option<PodFacts>,
    is_in_api: bool,
    /// What the CNI plugin gave it.
    claimed: BTreeSet<IpAddr>,
    addresses: BTreeSet<IpAddr>,
    members: BTreeSet<(SetId, Member)>,
    /// Those that select it; of pods of this node.
    policies: BTreeSet<PolicyId>,
    /// By [`Direction::index`].
    chains: [Option<ChainId>; 2],
    /// Why one of them denies what policies allow.
    cut: [Option<Cut>; 2],
}

impl Pod {
    fn is_here(&self) -> bool {
        !self.claimed.is_empty() || self.facts.as_ref().is_some_and(|facts| facts.here)
    }
}

#[derive(Default)]
pub struct Planner {
    namespaces: HashMap<String, Labels>,
    pods: HashMap<Uid, Pod>,
    pods_in: HashMap<String, BTreeSet<Uid>>,
    /// Whose an address is by the CNI plugin.
    claims: HashMap<IpAddr, Uid>,
    /// Who has an address.
    owners: HashMap<IpAddr, BTreeSet<Uid>>,
    current: HashMap<String, BTreeMap<String, PolicyId>>,
    policies: HashMap<PolicyId, PolicyInUse>,
    last_policy: PolicyId,
    chains: Chains,
    isolated: BTreeMap<(Direction, IpAddr), ChainId>,
    pub sets: Sets,
    pub changes: Changes,
    complaints: Vec<Complaint>,
    /// Those that want sets for which there was no room.
    partial: BTreeSet<PolicyId>,
    /// Those of whose chains one is cut.
    cut: BTreeSet<Uid>,
    /// Of these two, those that nobody was told of yet.
    untold_policies: BTreeSet<PolicyId>,
    untold_pods: BTreeSet<Uid>,
}

impl Planner {
    /// One that has as much room as the test says.
    #[cfg(test)]
    pub fn with_limits(sets: Limits, elements: Limits, rules: Limits) -> Self {
        Self {
            sets: Sets::with_limits(sets, elements),
            chains: Chains::with_limits(rules),
            ..Self::default()
        }
    }

    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        self.sets.namespace_changed(name, labels.as_ref());
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        for uid in self.pods_in(name) {
            self.update(&uid);
        }
    }

    pub fn set_pod(&mut self, uid: &Uid, facts: Option<PodFacts>) {
        let Some(facts) = facts else {
            if let Some(pod) = self.pods.get_mut(uid) {
                pod.is_in_api = false;
                self.update(uid);
            }
            return;
        };
        let pod = self.pods.entry(uid.clone()).or_default();
        if pod.is_in_api && pod.facts.as_ref() == Some(&facts) {
            return;
        }
        pod.is_in_api = true;
        let namespace = facts.namespace.clone();
        pod.facts = Some(facts);
        self.pods_in
            .entry(namespace)
            .or_default()
            .insert(uid.clone());
        self.update(uid);
    }

    /// A pod of this node is about to have an address.
    pub fn claim(&mut self, address: IpAddr, uid: &Uid) {
        if let Some(other) = self.claims.get(&address).cloned()
            && other != *uid
        {
            self.release(address, &other);
        }
        self.claims.insert(address, uid.clone());
        let others = self.owners.get(&address).cloned().unwrap_or_default();
        let pod = self.pods.entry(uid.clone()).or_default();
        pod.claimed.insert(address);
        // First the new owner: the address is never without one.
        self.update(uid);
        for other in others.iter().filter(|other| *other != uid) {
            self.update(other);
        }
    }

    /// It has it no longer.
    pub fn release(&mut self, address: IpAddr, uid: &Uid) {
        if self.claims.get(&address) == Some(uid) {
            self.claims.remove(&address);
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.claimed.remove(&address);
            self.update(uid);
        }
    }

    /// Whether the API has told of a pod.
    pub fn knows(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|pod| pod.facts.is_some())
    }

    pub fn set_policy(&mut self, namespace: &str, name: &str, policy: Option<Policy>) {
        let old = self
            .current
            .get(namespace)
            .and_then(|names| names.get(name))
            .copied();
        let same = match (&policy, old.and_then(|id| self.policies.get(&id))) {
            (Some(new), Some(old)) => *new == *old.policy,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let names = self.current.entry(namespace.to_owned()).or_default();
        match policy {
            Some(policy) => {
                self.last_policy.0 += 1;
                names.insert(name.to_owned(), self.last_policy);
                self.policies
                    .insert(self.last_policy, PolicyInUse::new(policy));
            }
            None => {
                names.remove(name);
            }
        }
        if names.is_empty() {
            self.current.remove(namespace);
        }
        let new = self
            .current
            .get(namespace)
            .and_then(|names| names.get(name));
        let new = new.and_then(|id| self.policies.get(id));
        let new = new.map(|found| found.policy.clone());
        // A pod's chains cost all that its policies say: only of those for whom something changes.
        let is_about = |pod: &Pod| {
            let selects = |facts: &PodFacts| {
                let new = new.as_ref();
                new.is_some_and(|new| new.selector.matches(&facts.labels))
            };
            let was = old.is_some_and(|old| pod.policies.contains(&old));
            was || pod.is_here() && pod.facts.as_ref().is_some_and(selects)
        };
        for uid in self.pods_in(namespace) {
            if self.pods.get(&uid).is_some_and(is_about) {
                self.update(&uid);
            }
        }
        // Nobody is selected by it any more, and whoever was has given it back.
        if let Some(old) = old {
            self.policies.remove(&old);
        }
    }

    pub fn isolated(&self) -> &BTreeMap<(Direction, IpAddr), ChainId> {
        &self.isolated
    }

    pub fn chain(&self, id: ChainId) -> Option<&[Clause<SetId>]> {
        self.chains.get(id)
    }

    pub fn chains(&self) -> impl Iterator<Item = ChainId> {
        self.chains.ids()
    }

    fn pods_in(&self, namespace: &str) -> Vec<Uid> {
        let pods = self.pods_in.get(namespace).into_iter().flatten();
        pods.cloned().collect()
    }

    /// Everything that follows from a pod.
    fn update(&mut self, uid: &Uid) {
        let Some(mut pod) = self.pods.remove(uid) else {
            return;
        };
        let goes = !pod.is_in_api && pod.claimed.is_empty();
        let before = std::mem::take(&mut pod.addresses);
        if !goes {
            pod.addresses = self.addresses(uid, &pod);
        }
        self.owns(uid, &before, &pod.addresses);
        self.bring(&mut pod);
        let (fresh, idle) = self.isolate(uid, &mut pod, goes);
        let after = pod.addresses.clone();
        if goes {
            self.forget(uid, &pod);
        } else {
            self.pods.insert(uid.clone(), pod);
        }
        for id in fresh {
            self.fill(id);
        }
        for policy in idle {
            self.idle(policy);
        }
        for address in before.union(&after) {
            self.settle(*address);
        }
    }

    /// Where a pod is now: where the plugin has put it, and else where the API says that it is.
    fn addresses(&self, uid: &Uid, pod: &Pod) -> BTreeSet<IpAddr> {
        let mut addresses = pod.claimed.clone();
        if let Some(facts) = &pod.facts
            && pod.is_in_api
            && !facts.host_network
        {
            let others =
                |address: &&IpAddr| self.claims.get(*address).is_none_or(|owner| owner == uid);
            addresses.extend(facts.addresses.iter().filter(others));
        }
        addresses
    }

    fn owns(&mut self, uid: &Uid, before: &BTreeSet<IpAddr>, after: &BTreeSet<IpAddr>) {
        for address in before.difference(after) {
            if let Some(owners) = self.owners.get_mut(address) {
                owners.remove(uid);
                if owners.is_empty() {
                    self.owners.remove(address);
                }
            }
        }
        for address in after.difference(before) {
            self.owners.entry(*address).or_default().insert(uid.clone());
        }
    }

    fn forget(&mut self, uid: &Uid, pod: &Pod) {
        let Some(facts) = &pod.facts else { return };
        if let Some(pods) = self.pods_in.get_mut(&facts.namespace) {
            pods.remove(uid);
            if pods.is_empty() {
                self.pods_in.remove(&facts.namespace);
            }
        }
    }

    /// The sets that a pod is in.
    fn bring(&mut self, pod: &mut Pod) {
        let wanted = match &pod.facts {
            Some(facts) => {
                let namespace = self.namespaces.get(&facts.namespace);
                self.sets.of(facts, namespace, &pod.addresses)
            }
            None => BTreeSet::new(),
        };
        for (id, member) in pod.members.difference(&wanted) {
            self.sets.remove(*id, *member, &mut self.changes);
        }
        let mut members = BTreeSet::new();
        for (id, member) in wanted {
            if pod.members.contains(&(id, member)) || self.sets.add(id, member, &mut self.changes) {
                members.insert((id, member));
            }
        }
        pod.members = members;
    }

    /// Brings all pods into a set that is new, or had no room.
    fn fill(&mut self, id: SetId) {
        for uid in self.pods_for(id) {
            let Some(pod) = self.pods.get_mut(&uid) else {
                continue;
            };
            let Some(facts) = &pod.facts else { continue };
            let namespace = self.namespaces.get(&facts.namespace);
            for (id, member) in self.sets.brings(id, facts, namespace, &pod.addresses) {
                if !pod.members.contains(&(id, member))
                    && self.sets.add(id, member, &mut self.changes)
                {
                    pod.members.insert((id, member));
                }
            }
        }
    }

    /// Forgets who is in a set.
    fn empty(&mut self, id: SetId) {
        for uid in self.pods_for(id) {
            if let Some(pod) = self.pods.get_mut(&uid) {
                let first = (id, Member::Address(LOWEST));
                let next = (SetId(id.0 + 1), Member::Address(LOWEST));
                let gone: Vec<_> = pod.members.range(first..next).copied().collect();
                for member in gone {
                    pod.members.remove(&member);
                }
            }
        }
    }

    fn pods_for(&self, id: SetId) -> Vec<Uid> {
        match self.sets.namespaces_of(id) {
            Some(namespaces) => {
                let all = namespaces.iter().flat_map(|name| self.pods_in(name));
                all.collect()
            }
            None => self.pods.keys().cloned().collect(),
        }
    }

    /// Which chains judge what comes from or is for an address.
    fn settle(&mut self, address: IpAddr) {
        let owners = match self.claims.get(&address) {
            Some(owner) => vec![owner.clone()],
            None => {
                let owners = self.owners.get(&address).into_iter().flatten();
                owners.cloned().collect()
            }
        };
        for direction in Direction::BOTH {
            let chain = owners
                .iter()
                .find_map(|uid| self.pods.get(uid)?.chains[direction.index()]);
            let key = (direction, address);
            let before = self.isolated.get(&key).copied();
            if before == chain {
                continue;
            }
            self.changes.isolated(direction, address, before);
            match chain {
                Some(chain) => self.isolated.insert(key, chain),
                None => self.isolated.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests;
