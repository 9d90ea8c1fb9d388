//! Which static pods are wanted and which run: one of a name at a time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};

use super::{MIRROR, SEEN, Source};
use crate::{
    context,
    worker::{Update, kill},
};

/// Namespace and name.
pub(crate) type Key = (String, String);

/// What is to be done about a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It gets a worker.
    Start(Arc<Pod>),
    /// It is to end; its worker is told.
    End(Arc<Pod>),
}

/// What the API is to show under a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Want {
    /// This pod, by the mirror with this uid, or by a new one.
    Mirror(Arc<Pod>, Option<String>),
    /// Whatever it shows now: of the last pod something is left.
    Whatever,
}

/// All static pods of the node.
#[derive(Default)]
pub(crate) struct Statics {
    sources: BTreeMap<Source, Vec<Arc<Pod>>>,
    slots: HashMap<Key, Slot>,
    /// Uids of pods whose names others have.
    doubled: HashSet<String>,
}

/// A name.
#[derive(Default)]
struct Slot {
    wanted: Option<Arc<Pod>>,
    running: Option<Running>,
}

/// The pod that has the name.
struct Running {
    pod: Arc<Pod>,
    ending: bool,
    /// Uid of its mirror.
    mirror: Option<String>,
    /// Of a kubelet that was here before; just its metadata is known.
    orphan: bool,
}

impl Running {
    fn new(pod: Arc<Pod>) -> Self {
        Self {
            pod,
            ending: false,
            mirror: None,
            orphan: false,
        }
    }

    /// Whether this is the pod's mirror. One that says that the pod has ended is of a pod that ran before it, and it may not say
    /// otherwise any more: the API takes back no end.
    fn accepts(&mut self, mirror: &Pod) -> bool {
        let meta = &mirror.metadata;
        let of = meta.annotations.as_ref().and_then(|all| all.get(MIRROR));
        if of.map(String::as_str) != Some(context::uid(&self.pod))
            || meta.deletion_timestamp.is_some()
        {
            return false;
        }
        if self.mirror.as_deref() == Some(context::uid(mirror)) {
            return true;
        }
        let phase = mirror
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        if !over {
            self.mirror = Some(context::uid(mirror).to_owned());
        }
        !over
    }
}

impl Statics {
    /// What was left running by a kubelet before this one has its name until [`Self::ended`].
    pub(crate) fn adopt(&mut self, orphan: Arc<Pod>) {
        let slot = self.slots.entry(key(&orphan)).or_default();
        slot.running.get_or_insert(Running {
            ending: true,
            orphan: true,
            ..Running::new(orphan)
        });
    }

    /// These are all pods that the source has. Of several of one name the first is taken; the others are returned too, once, to be
    /// told of.
    pub(crate) fn set(&mut self, source: Source, pods: Vec<Pod>) -> (Vec<Step>, Vec<Arc<Pod>>) {
        let pods = pods.into_iter().map(|pod| self.known(pod)).collect();
        self.sources.insert(source, pods);
        for slot in self.slots.values_mut() {
            slot.wanted = None;
        }
        let mut doubled = Vec::new();
        for pod in self.sources.values().flatten() {
            let slot = self.slots.entry(key(pod)).or_default();
            match &slot.wanted {
                Some(first) if first != pod => doubled.push(pod.clone()),
                Some(_) => {}
                None => slot.wanted = Some(pod.clone()),
            }
        }
        let before = std::mem::take(&mut self.doubled);
        self.doubled = doubled
            .iter()
            .map(|pod| context::uid(pod).to_owned())
            .collect();
        doubled.retain(|pod| !before.contains(context::uid(pod)));
        let steps = self.slots.values_mut().filter_map(Slot::settle).collect();
        self.tidy();
        (steps, doubled)
    }

    /// The same pod as before, if it is one; else a new one, with the time.
    fn known(&self, mut pod: Pod) -> Arc<Pod> {
        let mut known = self.sources.values().flatten();
        if let Some(known) = known.find(|known| known.metadata.uid == pod.metadata.uid) {
            return known.clone();
        }
        let seen = Timestamp::now().to_string();
        pod.metadata
            .annotations
            .get_or_insert_default()
            .insert(SEEN.to_owned(), seen);
        Arc::new(pod)
    }

    /// Nothing of the pod is left.
    pub(crate) fn ended(&mut self, uid: &str) -> Option<Step> {
        let has = |slot: &&mut Slot| {
            let running = slot.running.as_ref();
            running.is_some_and(|running| context::uid(&running.pod) == uid)
        };
        let slot = self.slots.values_mut().find(has)?;
        slot.running = None;
        let step = slot.settle();
        self.tidy();
        step
    }

    fn tidy(&mut self) {
        self.slots
            .retain(|_, slot| slot.wanted.is_some() || slot.running.is_some());
    }

    /// What the worker of the pod with that name is to know; `mirror`: what the API has under the name.
    pub(crate) fn update(&mut self, key: &Key, mirror: Option<Arc<Pod>>) -> Option<Update> {
        let running = self.slots.get_mut(key)?.running.as_mut()?;
        if running.orphan {
            return None;
        }
        let object = mirror.filter(|mirror| running.accepts(mirror));
        let mut pod = Pod::clone(&running.pod);
        if let Some(object) = &object {
            pod.status.clone_from(&object.status);
        }
        if running.ending {
            // As the API says it of its pods.
            pod.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
            pod.metadata.deletion_grace_period_seconds = Some(kill::grace_of(&pod));
        }
        Some(Update {
            pod: Arc::new(pod),
            object,
            gone: false,
        })
    }

    /// What the API is to show, by name; `mirrors` is what it shows.
    pub(crate) fn wants(&mut self, mirrors: &[Arc<Pod>]) -> HashMap<Key, Want> {
        let mirrors: HashMap<Key, &Arc<Pod>> = mirrors.iter().map(|pod| (key(pod), pod)).collect();
        let want = |(key, slot): (&Key, &mut Slot)| {
            let want = match &mut slot.running {
                Some(running) if !running.ending => {
                    let accepted = mirrors.get(key).filter(|mirror| running.accepts(mirror));
                    let uid = accepted.map(|mirror| context::uid(mirror).to_owned());
                    Want::Mirror(running.pod.clone(), uid)
                }
                _ => Want::Whatever,
            };
            (key.clone(), want)
        };
        self.slots.iter_mut().map(want).collect()
    }

    /// The pod of that name: the one that runs, else the one that is to.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.slots
            .get(&(namespace.to_owned(), name.to_owned()))?
            .pod()
            .cloned()
    }

    /// All of them, one a name.
    pub(crate) fn list(&self) -> Vec<Arc<Pod>> {
        self.slots.values().filter_map(Slot::pod).cloned().collect()
    }

    /// Whether the pod with that uid is one, whatever it says of itself.
    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.slots
            .values()
            .flat_map(Slot::pods)
            .any(|pod| context::uid(pod) == uid)
    }

    /// Uids of all that run or are to.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.slots
            .values()
            .flat_map(Slot::pods)
            .map(|pod| context::uid(pod).to_owned())
            .collect()
    }

    /// Whether the source has been read.
    pub(crate) fn has(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }
}

impl Slot {
    fn settle(&mut self) -> Option<Step> {
        match (&mut self.running, &self.wanted) {
            (None, Some(wanted)) => {
                self.running = Some(Running::new(wanted.clone()));
                Some(Step::Start(wanted.clone()))
            }
            (Some(running), wanted) if !running.ending => {
                let same = wanted
                    .as_ref()
                    .is_some_and(|pod| pod.metadata.uid == running.pod.metadata.uid);
                running.ending = !same;
                running.ending.then(|| Step::End(running.pod.clone()))
            }
            _ => None,
        }
    }

    fn pod(&self) -> Option<&Arc<Pod>> {
        let running = self.running.as_ref().filter(|running| !running.orphan);
        running.map(|running| &running.pod).or(self.wanted.as_ref())
    }

    fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.running
            .iter()
            .map(|running| &running.pod)
            .chain(&self.wanted)
    }
}

/// Namespace and name of a pod.
pub(crate) fn key(pod: &Pod) -> Key {
    (
        context::namespace(pod).to_owned(),
        context::name(pod).to_owned(),
    )
}

#[cfg(test)]
mod tests;
