//! The policies in force: what the watch cache has of policies and bindings, brought together.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use knarr_auth::objects::{Object, Objects};
use parking_lot::Mutex;

use super::{Binding, Hook, Policy};
use crate::parse;

const GROUP: &str = "admissionregistration.k8s.io";

/// Policies of one kind with their bindings. Read without a lock; rebuilt by whoever asks first after a change.
pub struct Source<C> {
    objects: Arc<dyn Objects>,
    /// Resources of policies and of their bindings.
    resources: [&'static str; 2],
    state: ArcSwap<State<C>>,
    rebuilding: Mutex<()>,
}

struct State<C> {
    /// What it was built from, in the order of `resources`; `None` before the first time.
    revisions: Option<[u64; 2]>,
    /// By the revision of the object.
    policies: HashMap<u64, Arc<Policy<C>>>,
    bindings: HashMap<u64, Arc<Binding>>,
    hooks: Arc<[Hook<C>]>,
}

impl<C> Default for State<C> {
    fn default() -> State<C> {
        State {
            revisions: None,
            policies: HashMap::new(),
            bindings: HashMap::new(),
            hooks: Arc::new([]),
        }
    }
}

impl<C> Source<C> {
    pub fn new(objects: Arc<dyn Objects>, resources: [&'static str; 2]) -> Source<C> {
        Source {
            objects,
            resources,
            state: ArcSwap::new(Arc::new(State::default())),
            rebuilding: Mutex::new(()),
        }
    }

    fn revisions(&self) -> [u64; 2] {
        self.resources
            .map(|resource| self.objects.revision_of(GROUP, resource))
    }

    /// Whether all policies and bindings could be read: those that could not may be the ones that refuse.
    pub fn is_whole(&self) -> bool {
        let mut resources = self.resources.iter();
        resources.all(|resource| self.objects.is_whole(GROUP, resource))
    }

    /// The policies in force as of now, in the order of their names.
    pub fn current(&self) -> Arc<[Hook<C>]> {
        let state = self.state.load();
        if state.revisions == Some(self.revisions()) {
            return state.hooks.clone();
        }
        drop(state);
        let _one = self.rebuilding.lock();
        let old = self.state.load_full();
        // Read before the objects: a change in between makes the next request build again.
        let revisions = self.revisions();
        if old.revisions != Some(revisions) {
            self.state.store(Arc::new(self.build(&old, revisions)));
        }
        self.state.load().hooks.clone()
    }

    /// What did not change is taken over, with its compiled expressions; so is what changed in its status only.
    fn build(&self, old: &State<C>, revisions: [u64; 2]) -> State<C> {
        let [policies, bindings] = self
            .resources
            .map(|resource| self.objects.list(GROUP, resource, ""));
        let by_uid: HashMap<_, _> = old
            .policies
            .values()
            .map(|policy| ((policy.uid.as_str(), policy.generation), policy))
            .collect();
        let policy = |object: &Object| {
            if let Some(policy) = old.policies.get(&object.revision) {
                return Some(policy.clone());
            }
            let new = Policy::new(&parse(object)?);
            let same = by_uid.get(&(new.uid.as_str(), new.generation));
            Some(match same {
                Some(policy) => (*policy).clone(),
                None => Arc::new(new),
            })
        };
        let binding = |object: &Object| match old.bindings.get(&object.revision) {
            Some(binding) => Some(binding.clone()),
            None => Some(Arc::new(Binding::new(&parse(object)?))),
        };
        let policies: HashMap<u64, Arc<Policy<C>>> = policies
            .iter()
            .filter_map(|object| Some((object.revision, policy(object)?)))
            .collect();
        let bindings: HashMap<u64, Arc<Binding>> = bindings
            .iter()
            .filter_map(|object| Some((object.revision, binding(object)?)))
            .collect();
        State {
            revisions: Some(revisions),
            hooks: hooks(&policies, &bindings),
            policies,
            bindings,
        }
    }
}

/// Policies that are bound.
fn hooks<C>(
    policies: &HashMap<u64, Arc<Policy<C>>>,
    bindings: &HashMap<u64, Arc<Binding>>,
) -> Arc<[Hook<C>]> {
    let mut of_policy: HashMap<&str, Vec<Arc<Binding>>> = HashMap::new();
    for binding in bindings.values() {
        let all = of_policy.entry(&binding.policy).or_default();
        all.push(binding.clone());
    }
    let mut hooks: Vec<Hook<C>> = policies
        .values()
        .filter_map(|policy| {
            let mut bindings = of_policy.remove(policy.name.as_str())?;
            bindings.sort_by(|a, b| a.name.cmp(&b.name));
            let policy = policy.clone();
            Some(Hook { policy, bindings })
        })
        .collect();
    hooks.sort_by(|a, b| a.policy.name.cmp(&b.policy.name));
    hooks.into()
}
