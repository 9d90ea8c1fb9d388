//! What this node has promised its pods, and what it has given them.
//!
//! A pod is promised what it asks for when it is let in, and what it asks for instead when that fits beside the other pods. What
//! does not fit now waits ([`Answer::Deferred`]) until room is freed; then those that wait are asked in upstream's order. What its
//! containers have been given follows ([`crate::worker::resize`]), and until it has, a pod takes the larger of the two.
//!
//! Promises are kept on disk, one file a pod in the pod's directory: a pod that asks for more while the kubelet is away has not been
//! promised it. They need not outlast a power failure, since containers do not.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    context, disk,
    resources::{
        self, PodLimits, Qos,
        units::{CPU, MEMORY, Units},
    },
    worker::admission::{self, Admitted, Rejection, Room, Share},
};

/// In the pod's directory.
const FILE: &str = "resources.json";

/// Resources by container.
pub(crate) type Requirements = BTreeMap<String, ResourceRequirements>;

/// What one pod has been promised and given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub promised: Requirements,
    /// What is promised for the pod as a whole.
    #[serde(default)]
    pub whole: Option<ResourceRequirements>,
    /// What its containers were last started with or changed to.
    pub given: Requirements,
    /// What its cgroup was last set to; `None` until then.
    pub cgroup: Option<PodLimits>,
    /// What it takes of the node, in thousandths of a CPU: this counts for as long as nobody has let it in since the start.
    pub cpu_milli: i64,
    /// The same of memory, in bytes.
    pub memory_bytes: i64,
}

/// What becomes of what a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is what the pod was promised.
    Kept,
    /// It has been promised, just now or since the last question.
    Promised,
    /// There is no room now; why.
    Deferred(String),
}

/// A pod that asks for more than there is room for.
struct Waiting {
    pod: Arc<Pod>,
    /// When it first asked.
    since: Timestamp,
    /// Asks the pod's worker to look again.
    bell: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Pods that were let in.
    admitted: Admitted,
    records: HashMap<String, Record>,
    /// Of those that came in the same second, the first comes first.
    waiting: Vec<Waiting>,
    /// Pods that were promised what they waited for and do not know yet.
    news: Vec<String>,
}

/// All pods of the node.
pub(crate) struct Allocations {
    pods_dir: PathBuf,
    room: Room,
    state: Mutex<State>,
}

/// All containers whose resources can be changed.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref().into_iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    })
}

fn requirements(pod: &Pod) -> Requirements {
    containers(pod)
        .map(|c| (c.name.clone(), c.resources.clone().unwrap_or_default()))
        .collect()
}

/// What is stated for the pod as a whole.
fn whole(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.as_ref().and_then(|spec| spec.resources.as_ref())
}

/// The pod as if its containers asked for this, and itself for `own`; the same pod where they do.
fn with(
    pod: &Arc<Pod>,
    requirements: &Requirements,
    own: Option<&ResourceRequirements>,
) -> Arc<Pod> {
    let differs = |container: &Container| {
        let asked = container.resources.as_ref();
        requirements
            .get(&container.name)
            .is_some_and(|r| !resources::same(asked, Some(r)))
    };
    if resources::same(whole(pod), own) && !containers(pod).any(differs) {
        return pod.clone();
    }
    let mut pod = Pod::clone(pod);
    if let Some(spec) = &mut pod.spec {
        spec.resources = own.cloned();
        let init = spec.init_containers.iter_mut().flatten();
        for container in init.chain(&mut spec.containers) {
            if let Some(own) = requirements.get(&container.name) {
                container.resources = Some(own.clone());
            }
        }
    }
    Arc::new(pod)
}

impl Record {
    fn new(pod: &Arc<Pod>, running: bool) -> Self {
        let promised = requirements(pod);
        let known = running.then(|| promised.clone());
        Self {
            cgroup: running.then(|| resources::pod_limits(pod)),
            given: known.unwrap_or_default(),
            whole: whole(pod).cloned(),
            promised,
            ..Self::default()
        }
    }

    /// The pod as if it asked for what it is promised.
    fn as_promised(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        with(pod, &self.promised, self.whole.as_ref())
    }

    /// What the pod takes: the larger of what it is promised and what it has.
    fn share(&mut self, pod: &Arc<Pod>) -> Share {
        let promised = self.as_promised(pod);
        let given = with(&promised, &self.given, whole(&promised));
        let (promised, given) = (admission::share(&promised), admission::share(&given));
        let mut share = promised;
        share.units.raise(&given.units);
        (self.cpu_milli, self.memory_bytes) = (share.units.get(CPU), share.units.get(MEMORY));
        share
    }
}

impl Allocations {
    /// Reads what was promised before the kubelet was started. Blocks.
    pub(crate) fn new(pods_dir: PathBuf, room: Room) -> Self {
        let mut records = HashMap::new();
        for entry in std::fs::read_dir(&pods_dir).into_iter().flatten().flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            // One that is torn is one that is not there.
            let record = std::fs::read(entry.path().join(FILE)).ok();
            let record = record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            records.extend(record.map(|record| (uid, record)));
        }
        Self {
            pods_dir,
            room,
            state: Mutex::new(State {
                records,
                ..State::default()
            }),
        }
    }

    /// What the node offers.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// The pod with what it was promised in place of what it asks for.
    pub(crate) fn promised(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        match self.lock().records.get(context::uid(pod)) {
            Some(record) => record.as_promised(pod),
            None => pod.clone(),
        }
    }

    pub(crate) fn record(&self, uid: &str) -> Option<Record> {
        self.lock().records.get(uid).cloned()
    }

    /// Lets a pod in that has not been, unless `check` turns it away, and promises it what it asks for unless it has been promised
    /// something before.
    pub(crate) fn admit(
        &self,
        pod: &Arc<Pod>,
        running: bool,
        check: impl FnOnce(&Admitted) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        let uid = context::uid(pod);
        let mut state = self.lock();
        if state.admitted.contains_key(uid) {
            return Ok(());
        }
        check(&state.admitted)?;
        let record = state
            .records
            .entry(uid.to_owned())
            .or_insert_with(|| Record::new(pod, running));
        let share = record.share(pod);
        self.write(uid, record);
        state.admitted.insert(uid.to_owned(), share);
        Ok(())
    }

    /// Promises a pod what it asks for if that fits. Where it does not, `bell` is rung once it does; `since` is when it first asked,
    /// as far as that is known.
    pub(crate) fn ask(
        &self,
        pod: &Arc<Pod>,
        bell: &Arc<Notify>,
        since: Option<Timestamp>,
    ) -> Answer {
        let uid = context::uid(pod);
        let mut state = self.lock();
        let news = state.news.iter().position(|known| known == uid);
        let news = news.map(|at| state.news.swap_remove(at)).is_some();
        let mut waiting = state.waiting.iter();
        let place = waiting.position(|waiting| context::uid(&waiting.pod) == uid);
        let record = state.records.get(uid);
        let kept = record.is_none_or(|r| Arc::ptr_eq(&r.as_promised(pod), pod));
        let answer = match kept {
            true if news => Answer::Promised,
            true => Answer::Kept,
            false => match self.promise(&mut state, pod) {
                Ok(()) => Answer::Promised,
                Err(why) => Answer::Deferred(why),
            },
        };
        match (&answer, place) {
            // Whoever asks again keeps its place.
            (Answer::Deferred(_), Some(place)) => state.waiting[place].pod = pod.clone(),
            (Answer::Deferred(_), None) => state.waiting.push(Waiting {
                pod: pod.clone(),
                since: since.unwrap_or_else(Timestamp::now),
                bell: bell.clone(),
            }),
            (_, Some(place)) => drop(state.waiting.remove(place)),
            (_, None) => {}
        }
        answer
    }

    /// A container is about to be started with this, or has been changed to it.
    pub(crate) fn give(&self, uid: &str, container: &str, given: ResourceRequirements) {
        self.change(uid, |record| {
            record.given.insert(container.to_owned(), given);
        });
    }

    /// The pod's cgroup has been set.
    pub(crate) fn give_cgroup(&self, uid: &str, limits: PodLimits) {
        self.change(uid, |record| record.cgroup = Some(limits));
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Record)) {
        let mut state = self.lock();
        if let Some(record) = state.records.get_mut(uid) {
            let before = record.clone();
            change(record);
            if *record != before {
                self.write(uid, record);
            }
        }
    }

    /// Containers of the pod have been given what it was promised: room that they had beyond it is free.
    pub(crate) fn settle(&self, pod: &Arc<Pod>) {
        let uid = context::uid(pod);
        let mut state = self.lock();
        if !state.admitted.contains_key(uid) {
            return;
        }
        let Some(record) = state.records.get_mut(uid) else {
            return;
        };
        let share = record.share(pod);
        self.write(uid, record);
        state.admitted.insert(uid.to_owned(), share);
        self.retry(&mut state);
    }

    /// Nothing of the pod takes room any more.
    pub(crate) fn release(&self, uid: &str) {
        let mut state = self.lock();
        state.admitted.remove(uid);
        if let Some(record) = state.records.get_mut(uid) {
            (record.cpu_milli, record.memory_bytes) = (0, 0);
        }
        state
            .waiting
            .retain(|waiting| context::uid(&waiting.pod) != uid);
        self.retry(&mut state);
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.release(uid);
        let mut state = self.lock();
        state.records.remove(uid);
        state.news.retain(|known| known != uid);
    }

    /// Promises those that wait what they ask for, as far as there is room.
    fn retry(&self, state: &mut State) {
        let mut waiting = std::mem::take(&mut state.waiting);
        // Of equals the one that has waited longest comes first.
        waiting.sort_by_key(|waiting| (Reverse(urgency(&waiting.pod)), waiting.since.as_second()));
        for waiting in waiting {
            match self.promise(state, &waiting.pod) {
                Ok(()) => {
                    state.news.push(context::uid(&waiting.pod).to_owned());
                    waiting.bell.notify_one();
                }
                Err(_) => state.waiting.push(waiting),
            }
        }
    }

    fn promise(&self, state: &mut State, pod: &Arc<Pod>) -> Result<(), String> {
        let uid = context::uid(pod);
        let mut used = Units::default();
        for (_, share) in state.admitted.iter().filter(|(other, _)| *other != uid) {
            used.add(&share.units);
        }
        // Those that ran before the start and that nobody has come to yet.
        let late = |other: &String| other != uid && !state.admitted.contains_key(other);
        for (_, record) in state.records.iter().filter(|(other, _)| late(other)) {
            used.add(&Units::from([
                (CPU, record.cpu_milli),
                (MEMORY, record.memory_bytes),
            ]));
        }
        if let Some(why) = admission::shortage(&admission::share(pod), &used, &self.room) {
            return Err(why);
        }
        let Some(record) = state.records.get_mut(uid) else {
            return Ok(());
        };
        record.promised = requirements(pod);
        record.whole = whole(pod).cloned();
        let share = record.share(pod);
        self.write(uid, record);
        if state.admitted.contains_key(uid) {
            state.admitted.insert(uid.to_owned(), share);
        }
        Ok(())
    }

    /// Whoever has it may be writing.
    fn lock(&self) -> MutexGuard<'_, State> {
        let free = self.state.try_lock();
        free.unwrap_or_else(|| disk::waiting(|| self.state.lock()))
    }

    fn write(&self, uid: &str, record: &Record) {
        let directory = self.pods_dir.join(uid);
        let written = disk::waiting(|| {
            std::fs::create_dir_all(&directory)?;
            let bytes = serde_json::to_vec(record)?;
            knarr_host::write_atomically(&directory.join(FILE), &bytes)
        });
        if let Err(error) = written {
            tracing::warn!(%error, uid, "cannot keep what a pod was promised");
        }
    }
}

/// Whose turn it is when there is room: by priority, and at the same priority guaranteed pods.
fn urgency(pod: &Pod) -> (i32, bool) {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    let guaranteed = resources::qos(pod) == Qos::Guaranteed;
    (priority.unwrap_or_default(), guaranteed)
}

#[cfg(test)]
mod tests;
