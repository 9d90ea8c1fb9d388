//! The sets that rules look into: one for each different [`SetSpec`] that a namespace's policies use.
//!
//! Namespaces do not share sets, so that each has a namespace whose share it takes, and one whose share is used up closes for that
//! namespace alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    changes::Changes,
    ids::PolicyId,
    matcher::Matcher,
    model::{Labels, PodFacts, SetSpec},
    quota::{Full, Limits, Quota},
};

pub use crate::ids::{Member, SetId};

/// Elements of sets: some hundred bytes of the kernel's memory each, and a hundred thousand of them less than a second of a
/// replacement. What does not fit is not allowed.
pub const ELEMENTS: Limits = Limits {
    name: "addresses and ranges",
    namespace: 100_000,
    node: 300_000,
    assured: 1_000,
};

/// Sets, of which the kernel looks for each by going through those before it: a few thousand are a second.
pub const SETS: Limits = Limits {
    name: "sets of peers and ports",
    namespace: 2_048,
    node: 4_096,
    assured: 32,
};

pub struct Set {
    pub spec: Arc<SetSpec>,
    /// Whose policies use it.
    namespace: String,
    /// How often each policy uses it.
    uses: HashMap<PolicyId, usize>,
    matcher: Matcher,
    /// How many pods bring each.
    members: HashMap<Member, u32>,
}

impl Set {
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.members.keys().copied()
    }

    pub fn has(&self, member: Member) -> bool {
        self.members.contains_key(&member)
    }

    pub fn users(&self) -> impl Iterator<Item = PolicyId> {
        self.uses.keys().copied()
    }
}

pub struct Sets {
    /// By namespaces, and their specifications as text.
    by_spec: HashMap<(String, String), SetId>,
    sets: BTreeMap<SetId, Set>,
    last: u64,
    /// Which sets a namespace's pods may be in. Those of all namespaces are beside it.
    by_namespace: HashMap<String, BTreeSet<SetId>>,
    named: BTreeSet<SetId>,
    count: Quota,
    elements: Quota,
    /// Those that want more than there was room for.
    cut: BTreeMap<SetId, Full>,
    /// Of these, those that nobody was told of yet.
    untold: BTreeSet<SetId>,
}

impl Default for Sets {
    fn default() -> Self {
        Self::with_limits(SETS, ELEMENTS)
    }
}

impl Sets {
    pub fn with_limits(sets: Limits, elements: Limits) -> Self {
        Self {
            by_spec: HashMap::new(),
            sets: BTreeMap::new(),
            last: 0,
            by_namespace: HashMap::new(),
            named: BTreeSet::new(),
            count: Quota::new(sets),
            elements: Quota::new(elements),
            cut: BTreeMap::new(),
            untold: BTreeSet::new(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (SetId, &Set)> {
        self.sets.iter().map(|(id, set)| (*id, set))
    }

    pub fn get(&self, id: SetId) -> Option<&Set> {
        self.sets.get(&id)
    }

    /// The set of this specification for a policy of a namespace, and whether it is new and has to be filled.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn take(
        &mut self,
        spec: &Arc<SetSpec>,
        (namespace, policy): (&str, PolicyId),
        namespaces: &HashMap<String, Labels>,
        changes: &mut Changes,
    ) -> Result<(SetId, bool), Full> {
        let key = (namespace.to_owned(), format!("{spec:?}"));
        if let Some(id) = self.by_spec.get(&key) {
            if let Some(set) = self.sets.get_mut(id) {
                *set.uses.entry(policy).or_default() += 1;
            }
            if self.cut.contains_key(id) {
                self.untold.insert(*id);
            }
            return Ok((*id, false));
        }
        self.has_room_for(namespace, &[spec])?;
        self.count.take(namespace, 1)?;
        self.elements.take(namespace, spec.ranges())?;
        let matcher = match &**spec {
            SetSpec::Pods(peers) => Matcher::new(peers),
            _ => Matcher::default(),
        };
        let set = Set {
            spec: spec.clone(),
            namespace: namespace.to_owned(),
            uses: [(policy, 1)].into(),
            matcher,
            members: HashMap::new(),
        };
        self.last += 1;
        let id = SetId(self.last);
        match &**spec {
            SetSpec::Pods(peers) => {
                // Its own namespace needs not be known yet.
                let own = peers.iter().filter_map(|peer| match &peer.namespaces {
                    crate::model::Namespaces::Own(name) => Some(name),
                    crate::model::Namespaces::Selected(_) => None,
                });
                let known = namespaces
                    .iter()
                    .filter(|(name, labels)| set.matcher.is_about(name, Some(labels)))
                    .map(|(name, _)| name);
                for name in own.chain(known) {
                    self.by_namespace
                        .entry(name.clone())
                        .or_default()
                        .insert(id);
                }
            }
            SetSpec::Named(_) => {
                self.named.insert(id);
            }
            SetSpec::Blocks(_) | SetSpec::Ports(_) => {}
        }
        changes.set(id, false);
        self.by_spec.insert(key, id);
        self.sets.insert(id, set);
        Ok((id, true))
    }

    /// Whether a namespace may have sets of these specifications, if it has none of them yet.
    ///
    /// # Errors
    /// Says whose limit is in the way.
    pub fn has_room_for(&self, namespace: &str, specs: &[&Arc<SetSpec>]) -> Result<(), Full> {
        let ranges = specs.iter().map(|spec| spec.ranges()).sum();
        self.count.has_room(namespace, specs.len())?;
        self.elements.has_room(namespace, ranges)
    }

    pub fn is_last_use(&self, id: SetId) -> bool {
        let uses = self.sets.get(&id).map(|set| set.uses.values().sum());
        uses == Some(1)
    }

    /// The end of a policy's use, the last of which is the set's.
    pub fn give_back(&mut self, id: SetId, policy: PolicyId, changes: &mut Changes) {
        let Some(set) = self.sets.get_mut(&id) else {
            return;
        };
        if let Some(uses) = set.uses.get_mut(&policy) {
            *uses -= 1;
            if *uses == 0 {
                set.uses.remove(&policy);
            }
        }
        if !set.uses.is_empty() {
            return;
        }
        let Some(set) = self.sets.remove(&id) else {
            return;
        };
        changes.set(id, true);
        let elements = set.spec.ranges() + set.members.len();
        self.elements.give_back(&set.namespace, elements);
        self.count.give_back(&set.namespace, 1);
        let text = format!("{:?}", set.spec);
        self.by_spec.remove(&(set.namespace, text));
        self.named.remove(&id);
        self.cut.remove(&id);
        self.untold.remove(&id);
        self.by_namespace.retain(|_, sets| {
            sets.remove(&id);
            !sets.is_empty()
        });
    }

    /// A namespace has other labels, or has gone.
    pub fn namespace_changed(&mut self, name: &str, labels: Option<&Labels>) {
        let about = self
            .sets
            .iter()
            .filter(|(_, set)| set.matcher.is_about(name, labels));
        let about: BTreeSet<SetId> = about.map(|(id, _)| *id).collect();
        if about.is_empty() {
            self.by_namespace.remove(name);
        } else {
            self.by_namespace.insert(name.to_owned(), about);
        }
    }

    /// What a pod with these addresses is to bring, and where.
    pub fn of(
        &self,
        pod: &PodFacts,
        namespace: Option<&Labels>,
        addresses: &BTreeSet<IpAddr>,
    ) -> BTreeSet<(SetId, Member)> {
        if addresses.is_empty() {
            return BTreeSet::new();
        }
        let about = self.by_namespace.get(&pod.namespace).into_iter().flatten();
        about
            .chain(&self.named)
            .flat_map(|id| self.brings(*id, pod, namespace, addresses))
            .collect()
    }

    /// What a pod is to bring into one set.
    pub fn brings(
        &self,
        id: SetId,
        pod: &PodFacts,
        namespace: Option<&Labels>,
        addresses: &BTreeSet<IpAddr>,
    ) -> Vec<(SetId, Member)> {
        let Some(set) = self.sets.get(&id) else {
            return Vec::new();
        };
        match &*set.spec {
            SetSpec::Pods(_) if set.matcher.matches(&pod.namespace, namespace, &pod.labels) => {
                addresses
                    .iter()
                    .map(|a| (id, Member::Address(*a)))
                    .collect()
            }
            SetSpec::Named(names) => {
                let ports = pod.named_ports.iter().filter(|(protocol, name, _)| {
                    names
                        .binary_search_by(|(p, n)| (p, n.as_str()).cmp(&(protocol, name.as_str())))
                        .is_ok()
                });
                let at = |address: IpAddr| {
                    let ports = ports.clone();
                    ports.map(move |(protocol, _, port)| {
                        (id, Member::Port(address, *protocol, *port))
                    })
                };
                addresses.iter().flat_map(|address| at(*address)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whose pods have to be looked through to fill a set; none: everybody's.
    pub fn namespaces_of(&self, id: SetId) -> Option<Vec<String>> {
        match &*self.sets.get(&id)?.spec {
            SetSpec::Pods(_) => {
                let all = self
                    .by_namespace
                    .iter()
                    .filter(|(_, sets)| sets.contains(&id));
                Some(all.map(|(name, _)| name.clone()).collect())
            }
            SetSpec::Blocks(_) | SetSpec::Ports(_) => Some(Vec::new()),
            SetSpec::Named(_) => None,
        }
    }

    /// Whether it is in; there may be no room.
    pub fn add(&mut self, id: SetId, member: Member, changes: &mut Changes) -> bool {
        let Some(set) = self.sets.get_mut(&id) else {
            return false;
        };
        if let Some(count) = set.members.get_mut(&member) {
            *count += 1;
            return true;
        }
        if let Err(full) = self.elements.take(&set.namespace, 1) {
            if self.cut.insert(id, full).is_none() {
                self.untold.insert(id);
            }
            return false;
        }
        set.members.insert(member, 1);
        changes.member(id, member, false);
        true
    }

    pub fn remove(&mut self, id: SetId, member: Member, changes: &mut Changes) {
        let Some(set) = self.sets.get_mut(&id) else {
            return;
        };
        let Some(count) = set.members.get_mut(&member) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            set.members.remove(&member);
            self.elements.give_back(&set.namespace, 1);
            changes.member(id, member, true);
        }
    }

    /// Whether there is more room than when this was asked last.
    pub fn take_freed(&mut self) -> bool {
        // Both have to be asked.
        let (count, elements) = (self.count.take_freed(), self.elements.take_freed());
        count || elements
    }

    /// Those that want more than there was room for, where there is some again.
    pub fn take_cut(&mut self) -> Vec<SetId> {
        let has_room = |id: &SetId| {
            let set = self.sets.get(id);
            set.is_some_and(|set| self.elements.has_much_room(&set.namespace))
        };
        let again: Vec<SetId> = self.cut.keys().copied().filter(has_room).collect();
        for id in &again {
            self.cut.remove(id);
        }
        again
    }

    /// Those that lack some of what they want, and whose limit it is, if nobody was told yet.
    pub fn take_untold(&mut self) -> Vec<(SetId, Full)> {
        let untold = std::mem::take(&mut self.untold);
        let found = untold
            .into_iter()
            .filter_map(|id| Some((id, *self.cut.get(&id)?)));
        found.collect()
    }
}
