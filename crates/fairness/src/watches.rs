//! How many watch what a write changes: as upstream's `watch_tracker.go`.

use std::{collections::HashMap, sync::Arc};

use knarr_auth::request::RequestInfo;
use parking_lot::Mutex;

/// What a watch is about: group, resource, namespace, name; empty where it is about all.
type Subject = (Box<str>, Box<str>, Box<str>, Box<str>);

/// The watches of clients.
#[derive(Debug, Default)]
pub struct Watches(Mutex<HashMap<Subject, u32>>);

/// A watch, until dropped.
#[derive(Debug)]
pub struct Watching {
    watches: Arc<Watches>,
    subject: Subject,
}

impl Watches {
    /// A watch begins. `None`: it sees few of the changes, since it asks for the pods of one node.
    pub fn open(self: &Arc<Self>, request: &RequestInfo<'_>) -> Option<Watching> {
        let fields = &request.selectors.fields;
        if request.resource == "pods"
            && fields.exact("spec.nodeName").is_some_and(|n| !n.is_empty())
        {
            return None;
        }
        let subject = subject(request, request.namespace, request.name);
        let mut all = self.0.lock();
        let count = all.entry(subject.clone()).or_default();
        *count = count.saturating_add(1);
        Some(Watching {
            watches: self.clone(),
            subject,
        })
    }

    /// How many watches may see what a request changes.
    pub fn interested(&self, request: &RequestInfo<'_>) -> u32 {
        let all = self.0.lock();
        if all.is_empty() {
            return 0;
        }
        let count = |namespace, name| all.get(&subject(request, namespace, name)).copied();
        let mut sum = count("", "").unwrap_or(0);
        if !request.namespace.is_empty() {
            sum = sum.saturating_add(count(request.namespace, "").unwrap_or(0));
        }
        if !request.name.is_empty() {
            sum = sum.saturating_add(count(request.namespace, request.name).unwrap_or(0));
        }
        sum
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watches.0.lock();
        if let Some(count) = all.get_mut(&self.subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.subject);
            }
        }
    }
}

fn subject(request: &RequestInfo<'_>, namespace: &str, name: &str) -> Subject {
    (
        request.group.into(),
        request.resource.into(),
        namespace.into(),
        name.into(),
    )
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use knarr_auth::request::Selectors;

    use super::*;

    #[test]
    fn those_who_may_see_a_change_are_counted() {
        let watches = Arc::new(Watches::default());
        let ask = |resource, namespace, name| RequestInfo {
            is_resource: true,
            resource,
            namespace,
            name,
            ..RequestInfo::default()
        };
        let held = [
            watches.open(&ask("pods", "", "")),
            watches.open(&ask("pods", "a", "")),
            watches.open(&ask("pods", "a", "")),
            watches.open(&ask("pods", "a", "x")),
            watches.open(&ask("secrets", "a", "")),
        ];
        let on_node = Selectors::parse("", "spec.nodeName=n").expect("selectors");
        let of_node = RequestInfo {
            selectors: Cow::Owned(on_node),
            ..ask("pods", "", "")
        };
        assert!(watches.open(&of_node).is_none());
        for (namespace, name, wanted) in [("a", "x", 4), ("a", "y", 3), ("a", "", 3), ("b", "x", 1)]
        {
            let got = watches.interested(&ask("pods", namespace, name));
            assert_eq!(got, wanted, "{namespace}/{name}");
        }
        drop(held);
        assert!(watches.0.lock().is_empty());
    }
}
