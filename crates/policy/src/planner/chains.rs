//! The chains that judge packets: one for each different list of clauses that a namespace's policies have for a pod.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    changes::Changes,
    ids::{ChainId, SetId},
    model::{Clause, Direction},
    quota::{Full, Limits, Quota},
};

/// Most clauses of the policies of one pod in one direction: each costs a rule, which every packet to or from the pod may have to
/// pass. A pod with more is isolated from everybody.
pub const CLAUSES_MAX: usize = 4096;

/// Rules of chains beside the last of each, of which there are two a pod: ten thousand are up to a second of a
/// replacement.
pub const RULES: Limits = Limits {
    name: "combinations of peers and ports for different pods",
    namespace: 10_000,
    node: 40_000,
    assured: 256,
};

/// What chains differ in.
#[derive(PartialEq, Eq, Hash)]
pub struct Key {
    pub direction: Direction,
    /// Whose policies these are; nobody's if they allow nothing.
    pub namespace: String,
    pub clauses: Vec<Clause<SetId>>,
}

impl Key {
    /// That of a chain without clauses.
    pub fn denies(direction: Direction) -> Self {
        Self {
            direction,
            namespace: String::new(),
            clauses: Vec::new(),
        }
    }
}

/// Pods of a namespace that the same policies select share their chains.
pub struct Chains {
    by_key: HashMap<Arc<Key>, ChainId>,
    chains: BTreeMap<ChainId, (Arc<Key>, usize)>,
    last: u64,
    rules: Quota,
}

impl Default for Chains {
    fn default() -> Self {
        Self::with_limits(RULES)
    }
}

impl Chains {
    pub fn with_limits(rules: Limits) -> Self {
        Self {
            by_key: HashMap::new(),
            chains: BTreeMap::new(),
            last: 0,
            rules: Quota::new(rules),
        }
    }

    pub fn get(&self, id: ChainId) -> Option<&[Clause<SetId>]> {
        let (key, _) = self.chains.get(&id)?;
        Some(&key.clauses)
    }

    pub fn ids(&self) -> impl Iterator<Item = ChainId> {
        self.chains.keys().copied()
    }

    /// Whether there is more room than when this was asked last.
    pub fn take_freed(&mut self) -> bool {
        self.rules.take_freed()
    }

    /// The chain of these clauses.
    ///
    /// # Errors
    /// There is no room for one more.
    pub fn take(&mut self, key: Key, changes: &mut Changes) -> Result<ChainId, Full> {
        if let Some(id) = self.by_key.get(&key) {
            if let Some((_, uses)) = self.chains.get_mut(id) {
                *uses += 1;
            }
            return Ok(*id);
        }
        self.rules.take(&key.namespace, key.clauses.len())?;
        self.last += 1;
        let id = ChainId {
            direction: key.direction,
            number: self.last,
        };
        let key = Arc::new(key);
        changes.chain(id, false);
        self.by_key.insert(key.clone(), id);
        self.chains.insert(id, (key, 1));
        Ok(id)
    }

    pub fn give_back(&mut self, id: ChainId, changes: &mut Changes) {
        let Some((_, uses)) = self.chains.get_mut(&id) else {
            return;
        };
        *uses -= 1;
        if *uses == 0
            && let Some((key, _)) = self.chains.remove(&id)
        {
            changes.chain(id, true);
            self.rules.give_back(&key.namespace, key.clauses.len());
            self.by_key.remove(&key);
        }
    }
}
