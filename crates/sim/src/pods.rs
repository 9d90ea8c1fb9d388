//! Pods: the life of each that is bound to a simulated node.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_client::{Event, Informer, WorkQueue, errors};
use kube::{
    Client,
    api::{DeleteParams, Preconditions},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    config::Config,
    counts::Counts,
    hollow::{Hollow, Table},
    node,
    plan::{self, Fate, Stage, StatusUpdate, Step},
    pod::{Key, Phase, Pod},
    pool::Pool,
    rest,
    share::random,
    status::{self, Addresses},
    worker::Work,
};

/// Longest wait for the news of a status that was written: without them it is written again.
const NEWS_TIMEOUT: Duration = Duration::from_secs(10);
/// Between tries to get an address where all are taken.
const ADDRESS_PAUSE: Duration = Duration::from_secs(10);

/// What is known of a pod beside its object.
#[derive(Clone, Copy, Debug)]
struct Memory {
    stage: Stage,
    since: Instant,
    /// A status was written that was not seen yet.
    awaits: Option<Instant>,
    address: Option<IpAddr>,
}

pub(crate) struct Pods {
    pub config: Arc<Config>,
    pub client: Client,
    pub table: Arc<Table>,
    pub counts: Arc<Counts>,
    pub seen: Informer<Pod>,
    pub queue: WorkQueue<Key>,
    /// For nodes that were given no range.
    shared: Mutex<Pool>,
    /// By uid.
    memory: Mutex<HashMap<Box<str>, Memory>>,
}

impl Pods {
    pub(crate) fn new(
        config: Arc<Config>,
        client: Client,
        table: Arc<Table>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            shared: Mutex::new(Pool::new(config.pod_range)),
            config,
            client,
            table,
            counts,
            seen: Informer::new(),
            queue: WorkQueue::with_retries(Duration::from_millis(50), Duration::from_secs(30)),
            memory: Mutex::default(),
        }
    }

    /// Takes in what becomes of pods.
    pub(crate) fn on_event(&self, event: &Event<Pod>) {
        match event {
            Event::Deleted(pod) => self.forget(pod),
            Event::Updated { old, new } => {
                // Another of its name, or one that was bound elsewhere.
                if old.uid != new.uid {
                    self.forget(old);
                }
                self.note(new);
            }
            Event::Added(pod) => self.note(pod),
        }
    }

    fn note(&self, pod: &Arc<Pod>) {
        let Some(hollow) = self.table.of(&pod.node) else {
            return;
        };
        let (stage, now) = (plan::stage(pod), Instant::now());
        let freed = {
            let mut memory = self.memory.lock();
            let known = memory.entry(pod.uid.clone()).or_insert(Memory {
                stage,
                since: now,
                awaits: None,
                address: None,
            });
            if known.stage != stage {
                known.stage = stage;
                known.since = now;
            }
            known.awaits = None;
            match pod.has_ended() {
                true => known.address.take().or(pod.address),
                false => {
                    known.address = known.address.or(pod.address);
                    None
                }
            }
        };
        match (freed, pod.address) {
            (Some(address), _) => self.free(hollow, address),
            (None, Some(address)) if !pod.has_ended() => {
                hollow.occupy(address);
                self.shared.lock().occupy(address);
            }
            _ => {}
        }
        self.queue.add(Key::of(pod));
    }

    fn forget(&self, pod: &Pod) {
        let known = self.memory.lock().remove(&pod.uid);
        let address = known.and_then(|known| known.address);
        if let (Some(address), Some(hollow)) = (address, self.table.of(&pod.node)) {
            self.free(hollow, address);
        }
    }

    fn free(&self, hollow: &Hollow, address: IpAddr) {
        hollow.free(address);
        self.shared.lock().free(address);
    }

    /// Whether pods of nodes without a range of their own wait for an address.
    pub(crate) fn lacks_addresses(&self) -> bool {
        self.shared.lock().is_full()
    }

    fn fate(&self, pod: &Pod) -> Fate {
        let config = &self.config;
        let mut random = random(config.seed, &pod.uid);
        let job = pod.is_job.then(|| config.job.sample(&mut random));
        Fate {
            start: config.start.sample(&mut random),
            stop: config.stop.sample(&mut random),
            run: pod.run_for.or(job),
            fails: match pod.outcome {
                Some(outcome) => outcome == Phase::Failed,
                None => config.failing.has(config.seed, &pod.uid),
            },
        }
    }

    /// The address that a pod gets, the one that it has if any; `None` while there is none for it.
    fn address(&self, pod: &Pod, hollow: &Hollow) -> Option<IpAddr> {
        if pod.is_host_network {
            return Some(hollow.address);
        }
        let known = self.memory.lock().get(&pod.uid).and_then(|m| m.address);
        if let Some(address) = known.or(pod.address) {
            return Some(address);
        }
        let taken = match hollow.lacks_range() {
            true => self.shared.lock().take()?,
            false => hollow.take_address()?,
        };
        match self.memory.lock().get_mut(&pod.uid) {
            Some(memory) => memory.address = Some(taken),
            // It is gone meanwhile.
            None => self.free(hollow, taken),
        }
        Some(taken)
    }

    async fn tell(
        &self,
        pod: &Pod,
        hollow: &Hollow,
        told: StatusUpdate,
    ) -> Result<(), kube::Error> {
        let address = match told {
            StatusUpdate::Runs | StatusUpdate::BacksOff { .. } => {
                let address = self.address(pod, hollow);
                if address.is_none() {
                    // All are taken: one that is given back wakes nobody.
                    self.queue.add_after(Key::of(pod), ADDRESS_PAUSE);
                    return Ok(());
                }
                address
            }
            StatusUpdate::Begun | StatusUpdate::Ended { .. } => pod.address,
        };
        let addresses = Addresses {
            host: hollow.address,
            pod: address,
        };
        let patch = status::patch(pod, told, addresses, &node::text(Timestamp::now()));
        self.await_news(pod, Some(Instant::now() + NEWS_TIMEOUT));
        let path = rest::pods(&pod.namespace);
        let written = rest::patch_status(&self.client, &path, &pod.name, &patch).await;
        if let Err(error) = written {
            self.await_news(pod, None);
            return Err(error);
        }
        self.counts.pod_writes.one();
        Ok(())
    }

    fn await_news(&self, pod: &Pod, until: Option<Instant>) {
        if let Some(memory) = self.memory.lock().get_mut(&pod.uid) {
            memory.awaits = until;
        }
    }

    async fn remove(&self, pod: &Pod) -> Result<(), kube::Error> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        rest::delete(
            &self.client,
            &rest::pods(&pod.namespace),
            &pod.name,
            &params,
        )
        .await?;
        self.counts.pod_writes.one();
        // Finalizers may hold it: then it is looked at again when they change.
        Ok(())
    }
}

impl Work for Pods {
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    async fn perform(&self, key: &Key) -> Result<(), kube::Error> {
        let Some(pod) = self.seen.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let Some(hollow) = self.table.of(&pod.node).filter(|hollow| hollow.runs_pods()) else {
            return Ok(());
        };
        let Some(memory) = self.memory.lock().get(&pod.uid).copied() else {
            return Ok(());
        };
        let now = Instant::now();
        if let Some(until) = memory.awaits.filter(|until| *until > now) {
            self.queue.add_after(key.clone(), until.duration_since(now));
            return Ok(());
        }
        let elapsed = now.duration_since(memory.since);
        let done = match plan::step(&pod, &self.fate(&pod), elapsed) {
            Step::Nothing => Ok(()),
            Step::Wait(left) => {
                self.queue.add_after(key.clone(), left);
                Ok(())
            }
            Step::Update(told) => self.tell(&pod, hollow, told).await,
            Step::Remove => self.remove(&pod).await,
        };
        match done {
            // It is gone: an event says so. What conflicts may still be the same one, and is looked at again.
            Err(error) if errors::is_not_found(&error) => Ok(()),
            done => done,
        }
    }
}
