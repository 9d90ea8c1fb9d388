//! From wanted rules to transactions: the whole table, or the difference to what is applied.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use knarr_nft::{Chain, Element, Set, Table, Transaction, Value, Verdict};

use crate::{
    conntrack::Flows,
    layout::{self, HERE, Place, Scope, Slots},
    model::{Endpoint, Frontend, ServiceKey},
    network::Network,
    rules::{Balanced, ServiceRules},
};

/// Most clients that are remembered of an endpoint; nft's own limit.
const CLIENTS_MAX: u32 = 65_535;

/// How many frontends have their endpoints in a map: those for everybody, and those of this node for outside clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    anywhere: usize,
    here: usize,
}

/// The rules of services in one family: all of them, or those that are about to change.
#[derive(Default)]
pub struct Applied {
    services: HashMap<ServiceKey, Option<ServiceRules>>,
    /// How many services lead to each pod, for the whole table.
    hairpins: HashMap<IpAddr, usize>,
    /// Which maps there are, for the whole table.
    slots: BTreeMap<Slots, Uses>,
}

impl Applied {
    /// An empty overlay for the services that change; the rest is not copied.
    pub fn overlay(dirty: usize) -> Self {
        Self {
            services: HashMap::with_capacity(dirty),
            ..Self::default()
        }
    }

    /// Notes what a service wants; `None` where it wants nothing (any more).
    pub fn set(&mut self, key: ServiceKey, rules: Option<ServiceRules>) {
        self.services.insert(key, rules);
    }

    pub fn len(&self) -> usize {
        self.services.values().flatten().count()
    }

    /// The names of the sets that clients with session affinity are in.
    pub fn client_sets(&self) -> impl Iterator<Item = &str> {
        let sets = self
            .services
            .values()
            .flatten()
            .flat_map(|rules| &rules.sets);
        sets.map(|(name, _)| name.as_str())
    }

    fn get(&self, key: &ServiceKey) -> Option<&ServiceRules> {
        self.services.get(key)?.as_ref()
    }

    /// Takes over what the kernel has accepted.
    pub fn merge(&mut self, next: Self) {
        for (key, rules) in next.services {
            if let Some(old) = self.services.remove(&key).flatten() {
                for address in &old.hairpins {
                    if let Some(count) = self.hairpins.get_mut(address) {
                        *count -= 1;
                        if *count == 0 {
                            self.hairpins.remove(address);
                        }
                    }
                }
                count_slots(&old, |slots, here| {
                    let uses = self.slots.entry(slots).or_default();
                    *uses.of(here) -= 1;
                    if *uses == Uses::default() {
                        self.slots.remove(&slots);
                    }
                });
            }
            if let Some(rules) = rules {
                for address in &rules.hairpins {
                    *self.hairpins.entry(*address).or_default() += 1;
                }
                count_slots(&rules, |slots, here| {
                    *self.slots.entry(slots).or_default().of(here) += 1;
                });
                self.services.insert(key, Some(rules));
            }
        }
    }
}

impl Uses {
    fn of(&mut self, here: bool) -> &mut usize {
        if here {
            &mut self.here
        } else {
            &mut self.anywhere
        }
    }

    fn has(self, here: bool) -> bool {
        match here {
            true => self.here > 0,
            false => self.anywhere > 0,
        }
    }
}

/// A frontend's endpoints with the map they are in: those for everybody, and those of this node.
fn lists<'a>(
    frontend: &Frontend,
    balanced: &'a Balanced,
) -> impl Iterator<Item = (Slots, bool, &'a [Endpoint])> {
    let scope = Scope::of(frontend);
    let local = balanced.local.as_deref().map(|local| (true, local));
    [(false, &*balanced.all)]
        .into_iter()
        .chain(local)
        .filter(|(_, endpoints)| !endpoints.is_empty())
        .map(move |(here, endpoints)| {
            let slots = Slots::for_endpoints(scope, endpoints.len());
            (slots, here, endpoints)
        })
}

fn count_slots(rules: &ServiceRules, mut each: impl FnMut(Slots, bool)) {
    for (frontend, balanced) in &rules.balanced {
        for (slots, here, _) in lists(frontend, balanced) {
            each(slots, here);
        }
    }
}

/// The whole table, in one transaction that also removes the old one.
pub fn replace(network: &Network, next: &Applied) -> Transaction {
    let mut made = layout::base(network);
    made.append(difference(&network.table, &Applied::default(), next));
    made
}

/// What leads from `applied` to `next`, which holds the changed services only. Empty when nothing differs.
pub fn difference(table: &Table, applied: &Applied, next: &Applied) -> Transaction {
    let mut change = Change::new(table.clone());
    let mut keys: Vec<_> = next.services.keys().collect();
    keys.sort();
    let none = ServiceRules::default();
    for key in keys {
        let old = applied.get(key).unwrap_or(&none);
        let new = next.get(key).unwrap_or(&none);
        if old != new {
            change.service(old, new);
        }
    }
    change.hairpins(applied);
    change.slots(applied);
    change.finish()
}

/// How a number of uses changes.
type Deltas<K> = BTreeMap<K, isize>;

/// The parts of a transaction in the order in which they have to come.
struct Change {
    table: Table,
    add: Transaction,
    /// Elements by the name of their set or map.
    unlink: BTreeMap<String, Vec<Element>>,
    link: BTreeMap<String, Vec<Element>>,
    /// Chains that pick endpoints.
    picks: Transaction,
    remove: Transaction,
    hairpins: Deltas<IpAddr>,
    slots: Deltas<(Slots, bool)>,
}

impl Change {
    fn new(table: Table) -> Self {
        Self {
            table,
            add: Transaction::new(),
            unlink: BTreeMap::new(),
            link: BTreeMap::new(),
            picks: Transaction::new(),
            remove: Transaction::new(),
            hairpins: Deltas::new(),
            slots: Deltas::new(),
        }
    }

    fn finish(self) -> Transaction {
        let table = &self.table;
        let mut made = self.add;
        for (set, elements) in self.unlink {
            made.delete_elements(table, set, elements);
        }
        for (set, elements) in self.link {
            made.add_elements(table, set, elements);
        }
        made.append(self.picks);
        made.append(self.remove);
        made
    }

    fn link(&mut self, set: &str, element: Element) {
        push(&mut self.link, set, element);
    }

    fn unlink(&mut self, set: &str, element: Element) {
        push(&mut self.unlink, set, element);
    }

    fn service(&mut self, old: &ServiceRules, new: &ServiceRules) {
        self.chains(old, new);
        let sticky = |frontend: &Frontend| Scope::of(frontend).set(Place::Sticky);
        let goto = |chain: &str| Verdict::goto(chain);
        self.verdicts(sticky, goto, &old.sticky, &new.sticky);
        let jump = |chain: &str| Verdict::jump(chain);
        self.verdicts(|_| "guards", jump, &old.guards, &new.guards);
        for frontend in old.unserved.difference(&new.unserved) {
            self.unlink("unserved", Element::new(layout::key(frontend)));
        }
        for frontend in new.unserved.difference(&old.unserved) {
            self.link("unserved", Element::new(layout::key(frontend)));
        }
        for frontend in old.dropped.difference(&new.dropped) {
            self.unlink("dropped", Element::new(layout::key(frontend)));
        }
        for frontend in new.dropped.difference(&old.dropped) {
            self.link("dropped", Element::new(layout::key(frontend)));
        }
        for frontend in old.balanced.keys() {
            self.balanced(
                frontend,
                old.balanced.get(frontend),
                new.balanced.get(frontend),
            );
        }
        for (frontend, balanced) in &new.balanced {
            if !old.balanced.contains_key(frontend) {
                self.balanced(frontend, None, Some(balanced));
            }
        }
        count_slots(old, |slots, here| {
            *self.slots.entry((slots, here)).or_default() -= 1;
        });
        count_slots(new, |slots, here| {
            *self.slots.entry((slots, here)).or_default() += 1;
        });
        for address in &old.hairpins {
            *self.hairpins.entry(*address).or_default() -= 1;
        }
        for address in &new.hairpins {
            *self.hairpins.entry(*address).or_default() += 1;
        }
    }

    fn chains(&mut self, old: &ServiceRules, new: &ServiceRules) {
        let table = &self.table;
        for (set, seconds) in changed(&new.sets, &old.sets) {
            let mut set = Set::new(set, &[table.family.field()]);
            let seconds = u64::try_from(*seconds).unwrap_or_default();
            set.lifetime = Some((Duration::from_secs(seconds), CLIENTS_MAX));
            self.add.add_set(table, set);
        }
        // Chains first, then their rules: a rule may lead to any of them.
        for (chain, _) in changed(&new.chains, &old.chains) {
            self.add.add_chain(table, Chain::new(chain));
            self.add.flush_chain(table, chain);
        }
        for (chain, rules) in changed(&new.chains, &old.chains) {
            for rule in rules {
                self.add.add_rule(table, chain, rule.clone());
            }
        }
        let gone = old.chains.keys().filter(|c| !new.chains.contains_key(*c));
        // Flushed before any is deleted: they lead to each other.
        gone.clone()
            .for_each(|chain| self.remove.flush_chain(table, chain));
        gone.for_each(|chain| self.remove.delete_chain(table, chain));
        for set in old.sets.keys().filter(|s| !new.sets.contains_key(*s)) {
            self.remove.delete_set(table, set);
        }
    }

    fn verdicts(
        &mut self,
        map: impl Fn(&Frontend) -> &'static str,
        verdict: impl Fn(&str) -> Verdict,
        old: &BTreeMap<Frontend, String>,
        new: &BTreeMap<Frontend, String>,
    ) {
        for (frontend, _) in changed(old, new) {
            self.unlink(map(frontend), Element::new(layout::key(frontend)));
        }
        for (frontend, chain) in changed(new, old) {
            let element = Element::new(layout::key(frontend));
            self.link(map(frontend), element.verdict(verdict(chain)));
        }
    }

    /// The elements of one frontend.
    fn balanced(&mut self, frontend: &Frontend, old: Option<&Balanced>, new: Option<&Balanced>) {
        if old == new {
            return;
        }
        let scope = Scope::of(frontend);
        let is_local = |balanced: Option<&Balanced>| balanced.is_some_and(|b| b.local.is_some());
        let is_external = |balanced: Option<&Balanced>| balanced.is_some_and(|b| b.masquerade);
        for (place, before, after) in [
            (Place::Local, is_local(old), is_local(new)),
            (Place::External, is_external(old), is_external(new)),
        ] {
            let element = Element::new(layout::key(frontend));
            match (before, after) {
                (true, false) => self.unlink(scope.set(place), element),
                (false, true) => self.link(scope.set(place), element),
                _ => {}
            }
        }
        let of = |balanced: Option<&Balanced>, wanted: bool| {
            let mut lists = balanced.into_iter().flat_map(|b| lists(frontend, b));
            lists
                .find(|(_, here, _)| *here == wanted)
                .map(|(slots, _, endpoints)| (slots.map_name(), endpoints.to_vec()))
        };
        for here in [false, true] {
            self.endpoints(frontend, here, (of(old, here), of(new, here)));
        }
    }

    /// The slots that differ, of one list of endpoints.
    fn endpoints(
        &mut self,
        frontend: &Frontend,
        here: bool,
        (old, new): (Option<Located>, Option<Located>),
    ) {
        let same_map = match (&old, &new) {
            (Some((old, _)), Some((new, _))) => old == new,
            _ => false,
        };
        let at = |list: &Option<Located>, place: usize| {
            list.as_ref()
                .and_then(|(_, endpoints)| endpoints.get(place).copied())
        };
        let length = |list: &Option<Located>| list.as_ref().map_or(0, |(_, e)| e.len());
        let first = if here { HERE } else { 0 };
        for (place, number) in (0..length(&old).max(length(&new))).zip(first..first + HERE) {
            let (before, after) = (at(&old, place), at(&new, place));
            if same_map && before == after {
                continue;
            }
            if let (Some((map, _)), Some(endpoint)) = (&old, before) {
                self.unlink(map, layout::slot(frontend, number, &endpoint));
            }
            if let (Some((map, _)), Some(endpoint)) = (&new, after) {
                self.link(map, layout::slot(frontend, number, &endpoint));
            }
        }
    }

    fn hairpins(&mut self, applied: &Applied) {
        for (address, change) in std::mem::take(&mut self.hairpins) {
            let before = applied.hairpins.get(&address).copied().unwrap_or(0);
            let after = before.saturating_add_signed(change);
            let address = Value::Address(address);
            let element = Element::new([address.clone(), address]);
            if before == 0 && after > 0 {
                self.link("hairpin", element);
            } else if before > 0 && after == 0 {
                self.unlink("hairpin", element);
            }
        }
    }

    /// Maps that are needed from now on, or no longer, and the chains that look into them.
    fn slots(&mut self, applied: &Applied) {
        let mut after = applied.slots.clone();
        for ((slots, here), change) in std::mem::take(&mut self.slots) {
            let uses = after.entry(slots).or_default().of(here);
            *uses = uses.saturating_add_signed(change);
        }
        after.retain(|_, uses| *uses != Uses::default());
        let table = &self.table;
        for (slots, _) in after.iter().filter(|(s, _)| !applied.slots.contains_key(s)) {
            self.add.add_set(table, slots.map(table.family));
        }
        for (slots, _) in applied.slots.iter().filter(|(s, _)| !after.contains_key(s)) {
            self.remove.delete_set(table, slots.map_name());
        }
        for scope in [Scope::Service, Scope::Node] {
            for here in [false, true] {
                let needed = |all: &BTreeMap<Slots, Uses>| -> Vec<Slots> {
                    let used = all.iter().filter(|(_, uses)| uses.has(here));
                    let used = used.map(|(slots, _)| *slots);
                    used.filter(|slots| slots.scope == scope).collect()
                };
                let slots = needed(&after);
                if slots != needed(&applied.slots) {
                    let of = (scope, here);
                    layout::pick_chain(&mut self.picks, table, of, slots.into_iter());
                }
            }
        }
    }
}

fn push(lists: &mut BTreeMap<String, Vec<Element>>, set: &str, element: Element) {
    match lists.get_mut(set) {
        Some(list) => list.push(element),
        None => {
            lists.insert(set.to_owned(), vec![element]);
        }
    }
}

/// Endpoints, and the name of the map they are in.
type Located = (String, Vec<Endpoint>);

/// Where UDP flows may lead whose service is changed by `next`: nowhere, where it is gone and `is_served` knows of no other.
pub fn changed_flows(
    applied: &Applied,
    next: &Applied,
    is_served: impl Fn(&Frontend) -> bool,
) -> Flows {
    let mut flows = Flows::new();
    let none = Flows::new();
    for (key, rules) in &next.services {
        let new = rules.as_ref().map_or(&none, |rules| &rules.flows);
        let old = applied.get(key).map_or(&none, |rules| &rules.flows);
        for (frontend, serving) in changed(new, old) {
            let known = flows.entry(*frontend).or_default();
            // Who serves has a frontend that another wants, too.
            if !serving.is_empty() {
                known.clone_from(serving);
            }
        }
        let given_up = old.keys().filter(|frontend| !new.contains_key(frontend));
        for frontend in given_up.filter(|frontend| !is_served(frontend)) {
            flows.entry(*frontend).or_default();
        }
    }
    flows
}

/// The entries of `new` that `old` has not, or has with another value.
fn changed<'a, K: Ord, V: PartialEq>(
    new: &'a BTreeMap<K, V>,
    old: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    new.iter()
        .filter(move |(key, value)| old.get(*key) != Some(*value))
}

#[cfg(test)]
mod tests;
