//! Which service has a frontend that several want: any two may name the same external address and port.
//!
//! The first one has it until it gives it up. The kernel would refuse the second one's element, and with it the whole transaction.

use std::collections::{BTreeSet, HashMap};

use crate::{
    model::{Frontend, ServiceKey},
    rules::ServiceRules,
};

/// A frontend in one of the table's maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Element {
    Served(Frontend),
    Unserved(Frontend),
    Dropped(Frontend),
}

/// Who has what, and who else wants it.
#[derive(Default)]
pub struct Claims {
    owners: HashMap<Element, ServiceKey>,
    waiting: HashMap<Element, BTreeSet<ServiceKey>>,
    /// What each service has or waits for.
    wanted: HashMap<ServiceKey, BTreeSet<Element>>,
}

impl Claims {
    /// Takes from `rules` what another service has. Returns the services that may now have what this one gave up.
    pub fn settle(
        &mut self,
        key: &ServiceKey,
        rules: &mut Option<ServiceRules>,
    ) -> BTreeSet<ServiceKey> {
        let wanted = rules.as_ref().map(elements).unwrap_or_default();
        let before = self.wanted.remove(key).unwrap_or_default();
        let mut freed = BTreeSet::new();
        for element in before.difference(&wanted) {
            freed.extend(self.release(key, element));
        }
        for element in &wanted {
            let owner = self.owners.entry(*element).or_insert_with(|| key.clone());
            if owner == key {
                continue;
            }
            let waiting = self.waiting.entry(*element).or_default();
            waiting.insert(key.clone());
            if let Some(rules) = rules {
                withdraw(rules, element);
            }
        }
        // Who serves says where flows lead.
        if let Some(rules) = rules {
            let owner = |frontend| self.owners.get(&Element::Served(frontend));
            rules
                .flows
                .retain(|frontend, _| owner(*frontend).is_none_or(|owner| owner == key));
        }
        if !wanted.is_empty() {
            self.wanted.insert(key.clone(), wanted);
        }
        freed
    }

    /// Whether a service has it, with endpoints.
    pub fn is_served(&self, frontend: &Frontend) -> bool {
        self.owners.contains_key(&Element::Served(*frontend))
    }

    /// The services that wait for it, if it was this one's.
    fn release(&mut self, key: &ServiceKey, element: &Element) -> BTreeSet<ServiceKey> {
        if self.owners.get(element) == Some(key) {
            self.owners.remove(element);
            return self.waiting.remove(element).unwrap_or_default();
        }
        if let Some(waiting) = self.waiting.get_mut(element) {
            waiting.remove(key);
            if waiting.is_empty() {
                self.waiting.remove(element);
            }
        }
        BTreeSet::new()
    }
}

fn elements(rules: &ServiceRules) -> BTreeSet<Element> {
    let served = rules.balanced.keys().chain(rules.sticky.keys());
    let served = served.copied().map(Element::Served);
    let unserved = rules.unserved.iter().copied().map(Element::Unserved);
    let dropped = rules.dropped.iter().copied().map(Element::Dropped);
    served.chain(unserved).chain(dropped).collect()
}

fn withdraw(rules: &mut ServiceRules, element: &Element) {
    match element {
        Element::Served(frontend) => {
            rules.balanced.remove(frontend);
            rules.sticky.remove(frontend);
            rules.guards.remove(frontend);
        }
        Element::Unserved(frontend) => {
            rules.unserved.remove(frontend);
        }
        Element::Dropped(frontend) => {
            rules.dropped.remove(frontend);
        }
    }
}

#[cfg(test)]
mod tests;
