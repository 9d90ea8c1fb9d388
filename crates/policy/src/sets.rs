//! The sets that rules look into: one for each different [`SetSpec`] that is in use, whoever uses it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::Arc,
};

use knarr_nft::Protocol;

use crate::{
    changes::Changes,
    matcher::Matcher,
    model::{Labels, PodFacts, SetSpec},
};

/// Most elements that the sets of a node may have together: some hundred bytes of the kernel's memory each. What does not fit is
/// not allowed.
const ELEMENTS_MAX: usize = 1_000_000;

/// Names a set; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u64);

/// What pods bring into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    Address(Ipv4Addr),
    Port(Ipv4Addr, Protocol, u16),
}

pub struct Set {
    pub spec: Arc<SetSpec>,
    uses: usize,
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

    /// How many elements it has whatever pods there are.
    fn fixed(&self) -> usize {
        match &*self.spec {
            SetSpec::Blocks(ranges) | SetSpec::Ports(ranges) => ranges.len(),
            SetSpec::Pods(_) | SetSpec::Named(_) => 0,
        }
    }
}

pub struct Sets {
    /// By their specifications, as text.
    by_spec: HashMap<String, SetId>,
    sets: BTreeMap<SetId, Set>,
    last: u64,
    /// Which sets a namespace's pods may be in. Those of all namespaces are beside it.
    by_namespace: HashMap<String, BTreeSet<SetId>>,
    named: BTreeSet<SetId>,
    elements: usize,
    limit: usize,
    /// Those that want more than there was room for.
    cut: BTreeSet<SetId>,
}

impl Default for Sets {
    fn default() -> Self {
        Self::with_limit(ELEMENTS_MAX)
    }
}

impl Sets {
    pub fn with_limit(limit: usize) -> Self {
        Self {
            by_spec: HashMap::new(),
            sets: BTreeMap::new(),
            last: 0,
            by_namespace: HashMap::new(),
            named: BTreeSet::new(),
            elements: 0,
            limit,
            cut: BTreeSet::new(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (SetId, &Set)> {
        self.sets.iter().map(|(id, set)| (*id, set))
    }

    pub fn get(&self, id: SetId) -> Option<&Set> {
        self.sets.get(&id)
    }

    /// The set of this specification, and whether it is new and has to be filled. None if there is no room for it.
    pub fn take(
        &mut self,
        spec: &Arc<SetSpec>,
        namespaces: &HashMap<String, Labels>,
        changes: &mut Changes,
    ) -> Option<(SetId, bool)> {
        let text = format!("{spec:?}");
        if let Some(id) = self.by_spec.get(&text) {
            self.sets.get_mut(id)?.uses += 1;
            return Some((*id, false));
        }
        let matcher = match &**spec {
            SetSpec::Pods(peers) => Matcher::new(peers),
            _ => Matcher::default(),
        };
        let set = Set {
            spec: spec.clone(),
            uses: 1,
            matcher,
            members: HashMap::new(),
        };
        if self.elements + set.fixed() > self.limit {
            return None;
        }
        self.elements += set.fixed();
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
        self.by_spec.insert(text, id);
        self.sets.insert(id, set);
        Some((id, true))
    }

    pub fn is_last_use(&self, id: SetId) -> bool {
        self.sets.get(&id).is_some_and(|set| set.uses == 1)
    }

    /// The end of a use, the last of which is the set's.
    pub fn give_back(&mut self, id: SetId, changes: &mut Changes) {
        let Some(set) = self.sets.get_mut(&id) else {
            return;
        };
        set.uses -= 1;
        if set.uses > 0 {
            return;
        }
        changes.set(id, true);
        self.elements -= set.fixed() + set.members.len();
        self.by_spec.remove(&format!("{:?}", set.spec));
        self.sets.remove(&id);
        self.named.remove(&id);
        self.cut.remove(&id);
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
        addresses: &BTreeSet<Ipv4Addr>,
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
        addresses: &BTreeSet<Ipv4Addr>,
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
                let at = |address: Ipv4Addr| {
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
        if self.elements >= self.limit {
            self.cut.insert(id);
            return false;
        }
        self.elements += 1;
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
            self.elements -= 1;
            changes.member(id, member, true);
        }
    }

    /// Those that want more than there was room for, if there is some again.
    pub fn take_cut(&mut self) -> BTreeSet<SetId> {
        if self.elements > self.limit - self.limit / 10 {
            return BTreeSet::new();
        }
        std::mem::take(&mut self.cut)
    }

    pub fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }
}
