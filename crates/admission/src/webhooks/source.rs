//! The webhooks that are in force: read from the watch cache, compiled once a change.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use knarr_auth::objects::{Object, Objects};
use knarr_meta::object::{list_at, name};
use parking_lot::Mutex;

use super::hook::Hook;

const GROUP: &str = "admissionregistration.k8s.io";

/// The configurations of one resource.
pub struct Source {
    objects: Arc<dyn Objects>,
    resource: &'static str,
    current: ArcSwap<View>,
    /// Held while a view is made: a change is read once.
    changing: Mutex<()>,
}

/// What was configured at a revision.
#[derive(Default)]
pub struct View {
    /// Of the resource; 0 before the first look.
    revision: u64,
    /// In the order in which they are called.
    pub hooks: Vec<Arc<Hook>>,
    /// By name of the configuration: its revision, and its webhooks.
    known: HashMap<String, (u64, Vec<Arc<Hook>>)>,
}

impl Source {
    pub fn new(objects: Arc<dyn Objects>, resource: &'static str) -> Source {
        Source {
            objects,
            resource,
            current: ArcSwap::default(),
            changing: Mutex::new(()),
        }
    }

    /// Whether all configurations could be read: those that could not may be the ones that refuse.
    pub fn is_whole(&self) -> bool {
        self.objects.is_whole(GROUP, self.resource)
    }

    /// What is configured now. A revision that did not move is all that is looked at.
    pub fn view(&self) -> Arc<View> {
        let revision = self.objects.revision_of(GROUP, self.resource);
        let view = self.current.load();
        if view.revision == revision {
            return view.clone();
        }
        self.read()
    }

    fn read(&self) -> Arc<View> {
        let _turn = self.changing.lock();
        // Before the list: what comes between the two is read again.
        let revision = self.objects.revision_of(GROUP, self.resource);
        let before = self.current.load_full();
        if before.revision == revision {
            return before;
        }
        let mut view = View {
            revision,
            ..View::default()
        };
        for object in self.objects.list(GROUP, self.resource, "") {
            view.add(&object, &before);
        }
        let mut names: Vec<&String> = view.known.keys().collect();
        names.sort_unstable();
        let hooks = names
            .into_iter()
            .flat_map(|name| view.known[name].1.clone());
        view.hooks = hooks.collect();
        let view = Arc::new(view);
        self.current.store(view.clone());
        view
    }
}

impl View {
    /// A configuration, compiled anew only where it changed.
    fn add(&mut self, object: &Object, before: &View) {
        let Some(configuration) = crate::parse(object) else {
            return;
        };
        let name = name(&configuration);
        let known = before.known.get(name);
        let hooks = match known.filter(|(revision, _)| *revision == object.revision) {
            Some((_, hooks)) => hooks.clone(),
            None => {
                let hooks = list_at(&configuration, &["webhooks"]).iter();
                hooks.map(|hook| Arc::new(Hook::new(hook, name))).collect()
            }
        };
        self.known.insert(name.to_owned(), (object.revision, hooks));
    }
}
