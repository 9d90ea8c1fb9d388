//! Who has which address, or which port of one.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
};

use crate::runner::Key;

/// What a Service's port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As the API names it; TCP where it names none.
    pub(super) fn named(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A port of an address, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claim {
    pub address: IpAddr,
    pub port: Option<(Protocol, u16)>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some((protocol, port)) => write!(f, "{protocol} port {port} of {}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// An address that a Service would have, with all that it needs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub address: IpAddr,
    pub claims: BTreeSet<Claim>,
    /// Why it cannot have it unless it has it already, for people.
    pub problem: Option<String>,
    /// Why it cannot have it even then.
    pub refused: Option<String>,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub addresses: Vec<IpAddr>,
    /// Why addresses were not given, for people.
    pub problems: Vec<String>,
    /// Who waits for what was given up.
    pub freed: BTreeSet<Key>,
}

/// Who has what, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    holders: HashMap<Claim, Key>,
    held: HashMap<Key, BTreeSet<Claim>>,
    waiting: HashMap<Claim, BTreeSet<Key>>,
    waits: HashMap<Key, BTreeSet<Claim>>,
    /// Who wanted something and found nothing to want: anything that is given up may be for them.
    starved: BTreeSet<Key>,
}

impl Claims {
    /// Whether nobody but this Service has it.
    pub(super) fn is_free(&self, claim: &Claim, key: &Key) -> bool {
        self.holders.get(claim).is_none_or(|holder| holder == key)
    }

    /// Gives a Service the addresses of which it can have all that it needs, and takes back what it does not want any more.
    pub(super) fn settle(&mut self, key: &Key, wanted: Vec<Wanted>) -> Settled {
        let before = self.held.remove(key).unwrap_or_default();
        self.stop_waiting(key);
        let found_nothing = wanted.is_empty();
        let mut settled = Settled::default();
        let mut now = BTreeSet::new();
        let mut waits = BTreeSet::new();
        for wanted in wanted {
            match self.obstacle(key, &wanted, &before, &mut waits) {
                Some(problem) => settled.problems.push(problem),
                None => {
                    now.extend(wanted.claims);
                    settled.addresses.push(wanted.address);
                }
            }
        }
        for claim in before.difference(&now) {
            self.holders.remove(claim);
            let waiting = self.waiting.get(claim).into_iter().flatten();
            settled.freed.extend(waiting.chain(&self.starved).cloned());
        }
        for claim in &now {
            self.holders.insert(*claim, key.clone());
        }
        for claim in &waits {
            self.waiting.entry(*claim).or_default().insert(key.clone());
        }
        if !now.is_empty() {
            self.held.insert(key.clone(), now);
        }
        if found_nothing {
            self.starved.insert(key.clone());
        }
        if !waits.is_empty() {
            self.waits.insert(key.clone(), waits);
        }
        settled
    }

    /// Why it cannot have an address; what others have of it is noted as what it waits for.
    fn obstacle(
        &self,
        key: &Key,
        wanted: &Wanted,
        before: &BTreeSet<Claim>,
        waits: &mut BTreeSet<Claim>,
    ) -> Option<String> {
        if wanted.refused.is_some() {
            return wanted.refused.clone();
        }
        let taken: Vec<&Claim> = (wanted.claims.iter())
            .filter(|claim| !self.is_free(claim, key))
            .collect();
        waits.extend(taken.iter().copied());
        if let Some(claim) = taken.first() {
            // Not by name: it may be in a namespace that is none of this one's users' business.
            return Some(format!("{claim} is another Service's"));
        }
        let has = wanted.claims.is_subset(before);
        wanted.problem.clone().filter(|_| !has)
    }

    /// What it had is somebody else's to have, and it waits for nothing any more.
    pub(super) fn forget(&mut self, key: &Key) -> BTreeSet<Key> {
        let freed = self.settle(key, Vec::new()).freed;
        self.starved.remove(key);
        freed
    }

    fn stop_waiting(&mut self, key: &Key) {
        self.starved.remove(key);
        for claim in self.waits.remove(key).unwrap_or_default() {
            if let Some(waiting) = self.waiting.get_mut(&claim) {
                waiting.remove(key);
                if waiting.is_empty() {
                    self.waiting.remove(&claim);
                }
            }
        }
    }
}
