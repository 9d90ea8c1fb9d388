//! What an event of a pod means to the controllers of one kind: whose expectations it meets, and who is to look again.

use knarr_client::Event;

use crate::expectations::Expectations;
use crate::owners::Owned;
use crate::runner::Key;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The pod appeared; its controller may have waited for that.
    pub created: Option<Key>,
    /// Pods that go, by controller and uid.
    pub going: Vec<(Key, String)>,
    pub wake: Vec<Key>,
    /// It is nobody's, and new as such: whoever selects it may adopt it.
    pub orphan: bool,
}

impl Meaning {
    pub(crate) fn meet(&self, expectations: &Expectations) {
        for (key, uid) in &self.going {
            expectations.deletion_observed(key, uid);
        }
        if let Some(key) = &self.created {
            expectations.creation_observed(key);
        }
    }
}

/// `kind` is that of the controlling objects.
pub(crate) fn meaning<P: Owned>(event: &Event<P>, kind: &str) -> Meaning {
    let pod = &**event.object();
    let owner = controller_key(pod, kind);
    let mut meaning = Meaning::default();
    let going = |pod: &P| Some((controller_key(pod, kind)?, pod.uid().to_owned()));
    let is_going = pod.is_going();
    match event {
        // One that is already going was seen for the first time after a restart.
        Event::Added(_) if is_going => meaning.going.extend(going(pod)),
        Event::Added(_) => meaning.created = owner.clone(),
        Event::Updated { old, .. } => {
            // The name is another pod's by now.
            if old.uid() != pod.uid() {
                meaning.going.extend(going(old));
                meaning.created = owner.clone();
            }
            if is_going {
                meaning.going.extend(going(pod));
            }
            let before = controller_key(&**old, kind);
            if before != owner {
                meaning.wake.extend(before);
            }
        }
        Event::Deleted(_) => meaning.going.extend(going(pod)),
    }
    meaning.orphan = !is_going && is_new_orphan(event);
    meaning.wake.extend(owner);
    meaning
}

/// Whether somebody else may adopt the pod than before the event. Finding out who does compiles the selectors of the namespace: what
/// its kubelet says of a pod is no reason (upstream `updatePod`).
fn is_new_orphan<P: Owned>(event: &Event<P>) -> bool {
    match event {
        Event::Added(pod) => pod.controller().is_none(),
        Event::Updated { old, new } => {
            let is_other =
                old.uid() != new.uid() || !old.has_labels_of(new) || old.controller().is_some();
            new.controller().is_none() && is_other
        }
        Event::Deleted(_) => false,
    }
}

fn controller_key<P: Owned>(pod: &P, kind: &str) -> Option<Key> {
    let owner = pod.controller().filter(|owner| owner.kind == kind)?;
    Some(Key::new(pod.namespace(), owner.name))
}

#[cfg(test)]
mod tests;
