//! Room in the kernel: how much of it the policies of one namespace may take, and all of them together.
//!
//! Who fills it is charged, and denied what does not fit. A namespace can take from another only what is beyond the part that
//! each is assured of.

use std::{collections::HashMap, fmt};

/// How much of something there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What it is, in the plural.
    pub name: &'static str,
    /// Most that the policies of a namespace may take of this node.
    pub namespace: usize,
    /// Most that all of them may, beside what they are assured of. Each namespace with policies has a pod here, so the sum is
    /// bounded.
    pub node: usize,
    /// What a namespace may take however much the others have.
    pub assured: usize,
}

/// Whose limit leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Namespace(Limits),
    Node(Limits),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(limits) => write!(
                f,
                "the policies of this namespace would take more {} of a node than {}, their share",
                limits.name, limits.namespace
            ),
            Self::Node(limits) => write!(
                f,
                "the policies of all namespaces would take more {} of a node than the {} that there are",
                limits.name, limits.node
            ),
        }
    }
}

/// Who has how much.
pub struct Quota {
    limits: Limits,
    used: HashMap<String, usize>,
    total: usize,
    was_freed: bool,
}

impl Quota {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            used: HashMap::new(),
            total: 0,
            was_freed: false,
        }
    }

    /// Whether a namespace may have `count` more.
    ///
    /// # Errors
    /// Says whose limit is in the way.
    pub fn has_room(&self, namespace: &str, count: usize) -> Result<(), Full> {
        let own = self.used(namespace).saturating_add(count);
        if own > self.limits.namespace {
            return Err(Full::Namespace(self.limits));
        }
        if own > self.limits.assured && self.total.saturating_add(count) > self.limits.node {
            return Err(Full::Node(self.limits));
        }
        Ok(())
    }

    /// A namespace has `count` more.
    ///
    /// # Errors
    /// There is no room for them, and it has as many as before.
    pub fn take(&mut self, namespace: &str, count: usize) -> Result<(), Full> {
        self.has_room(namespace, count)?;
        if count == 0 {
            return Ok(());
        }
        self.total += count;
        match self.used.get_mut(namespace) {
            Some(used) => *used += count,
            None => {
                self.used.insert(namespace.to_owned(), count);
            }
        }
        Ok(())
    }

    /// It has so many less, of those that were taken.
    pub fn give_back(&mut self, namespace: &str, count: usize) {
        if count == 0 {
            return;
        }
        self.was_freed = true;
        self.total -= count;
        if let Some(used) = self.used.get_mut(namespace) {
            *used -= count;
            if *used == 0 {
                self.used.remove(namespace);
            }
        }
    }

    /// Whether something was given back since this was asked.
    pub fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.was_freed)
    }

    /// Room for a tenth of a namespace's share: enough to begin anew what was cut, which costs more than what it takes.
    pub fn has_much_room(&self, namespace: &str) -> bool {
        let tenth = (self.limits.namespace / 10).max(1);
        self.has_room(namespace, tenth).is_ok()
    }

    fn used(&self, namespace: &str) -> usize {
        self.used.get(namespace).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        name: "things",
        namespace: 6,
        node: 10,
        assured: 2,
    };

    #[test]
    fn a_namespace_has_its_share_and_what_it_is_assured_of() {
        let mut quota = Quota::new(LIMITS);
        for (namespace, count, wanted) in [
            ("a", 7, Err(Full::Namespace(LIMITS))),
            ("a", 6, Ok(())),
            ("a", 1, Err(Full::Namespace(LIMITS))),
            ("b", 4, Ok(())),
            ("b", 1, Err(Full::Node(LIMITS))),
            // However much the others have.
            ("c", 3, Err(Full::Node(LIMITS))),
            ("c", 2, Ok(())),
            ("c", 1, Err(Full::Node(LIMITS))),
            ("c", usize::MAX, Err(Full::Namespace(LIMITS))),
        ] {
            assert_eq!(quota.take(namespace, count), wanted, "{namespace} {count}");
        }
        quota.give_back("a", 4);
        assert!(quota.take_freed() && !quota.take_freed());
        assert_eq!(quota.take("c", 2), Ok(()));
        assert_eq!(quota.used.get("c"), Some(&4));
        quota.give_back("c", 4);
        assert_eq!(quota.used.get("c"), None);
    }
}
