//! Nodes: registered, reported, turned off and on.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_client::lease::RENEW_INTERVAL;
use knarr_client::{Event, Informer, WorkQueue, errors};
use kube::Client;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    config::Config,
    counts::Counts,
    hollow::{Hollow, Table},
    latency::exponential,
    node::{self, Seen},
    pod::{Key, OnNode, Pod},
    rest,
    worker::Work,
};

/// How often a status is told although nothing has changed (upstream's `nodeStatusReportFrequency`).
const REPORT_PERIOD: Duration = Duration::from_secs(300);
/// Least time between outages of one node: that all are down all the time is not what is simulated.
const UP_MIN: Duration = Duration::from_secs(1);

/// What there is to do with a node, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Register(u32),
    Report(u32),
    /// Off or on.
    Turn(u32),
}

pub(crate) struct Nodes {
    pub config: Arc<Config>,
    pub client: Client,
    pub table: Arc<Table>,
    pub counts: Arc<Counts>,
    pub seen: Informer<Seen>,
    pub pods: Informer<Pod>,
    pub queue: WorkQueue<Task>,
    pub leases: WorkQueue<u32>,
    pub pod_queue: WorkQueue<Key>,
}

impl Nodes {
    /// Takes in what becomes of Node objects.
    pub(crate) fn on_event(&self, event: &Event<Seen>) {
        let seen = event.object();
        let Some(index) = self.table.index(&seen.name) else {
            return;
        };
        let Some(hollow) = self.table.get(index) else {
            return;
        };
        match event {
            Event::Deleted(_) => return hollow.lose(),
            Event::Added(_) => self.plan_outage(index),
            Event::Updated { .. } => {}
        }
        let turned = hollow.see(seen);
        if turned.is_alive {
            // A thousand nodes that come at once do not renew in step for ever.
            let spread = match event {
                Event::Added(_) => RENEW_INTERVAL.mul_f64(fastrand::f64()),
                _ => Duration::ZERO,
            };
            self.leases.add_after(index, spread);
        }
        if turned.runs_pods {
            self.wake_pods(hollow);
        }
        if turned.is_alive || node::differs(&seen.conditions, hollow.trouble()) {
            self.queue.add(Task::Report(index));
        }
    }

    /// Has another look at a node's pods; addresses that they have are theirs.
    fn wake_pods(&self, hollow: &Hollow) {
        let pods = self.pods.by_index(&OnNode(hollow.name.as_str().into()));
        for pod in &pods {
            if let Some(address) = pod.address.filter(|_| !pod.has_ended()) {
                hollow.occupy(address);
            }
        }
        for pod in pods {
            self.pod_queue.add(Key::of(&pod));
        }
    }

    async fn register(&self, index: u32, hollow: &Hollow) -> Result<(), kube::Error> {
        if hollow.is_registered() {
            return Ok(());
        }
        let node = node::object(&self.config, index, hollow.address, Timestamp::now());
        match rest::create(&self.client, rest::NODES, &node).await {
            // One that is ours is seen by the informer; another's is left alone, and asked for again in case it goes.
            Err(error) if errors::is_already_exists(&error) && hollow.is_registered() => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.counts.reports.one();
                Ok(())
            }
        }
    }

    /// Tells a node's status if it is due, or others have written something else.
    async fn report(&self, index: u32, hollow: &Hollow) -> Result<(), kube::Error> {
        let Some(seen) = self.seen.get("", &hollow.name) else {
            return Ok(());
        };
        if !hollow.beats() {
            return Ok(());
        }
        let trouble = hollow.trouble();
        let now = Instant::now();
        let changed = node::differs(&seen.conditions, trouble);
        let due = hollow.next_report().filter(|due| *due > now && !changed);
        if let Some(due) = due {
            self.queue
                .add_after(Task::Report(index), due.duration_since(now));
            return Ok(());
        }
        let status = node::status(&seen.conditions, trouble, Timestamp::now());
        let patch = json!({"metadata": {"uid": seen.uid}, "status": status});
        rest::patch_status(&self.client, rest::NODES, &hollow.name, &patch).await?;
        self.counts.reports.one();
        // As upstream's after a change: so that many nodes that changed at once do not report in step.
        let period = match changed || hollow.next_report().is_none() {
            true => REPORT_PERIOD.mul_f64(0.5 + fastrand::f64()),
            false => REPORT_PERIOD,
        };
        hollow.reported(now + period);
        self.queue.add_after(Task::Report(index), period);
        Ok(())
    }

    fn turn(&self, index: u32, hollow: &Hollow) {
        if hollow.turn() {
            self.leases.add(index);
            self.queue.add(Task::Report(index));
            self.wake_pods(hollow);
            self.plan_outage(index);
        } else {
            let mut random = fastrand::Rng::new();
            let down = self.config.outage.sample(&mut random);
            self.queue.add_after(Task::Turn(index), down);
        }
    }

    /// Of nodes that are up for some time and down for another, so that the share asked for is down on the whole.
    fn plan_outage(&self, index: u32) {
        let share = self.config.outages;
        if share.is_none() {
            return;
        }
        let up_for_down = (1.0 - share.fraction()) / share.fraction();
        let down = self.config.outage.typical().as_secs_f64();
        let mean = Duration::try_from_secs_f64(down * up_for_down).unwrap_or(Duration::MAX);
        let up = exponential(mean.max(UP_MIN), &mut fastrand::Rng::new());
        self.queue.add_after(Task::Turn(index), up.max(UP_MIN));
    }
}

impl Work for Nodes {
    type Key = Task;

    fn queue(&self) -> &WorkQueue<Task> {
        &self.queue
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    async fn perform(&self, task: &Task) -> Result<(), kube::Error> {
        let (Task::Register(index) | Task::Report(index) | Task::Turn(index)) = *task;
        let Some(hollow) = self.table.get(index) else {
            return Ok(());
        };
        match task {
            Task::Register(_) => self.register(index, hollow).await,
            Task::Report(_) => match self.report(index, hollow).await {
                // It is gone: an event says so.
                Err(error) if errors::is_not_found(&error) => Ok(()),
                result => result,
            },
            Task::Turn(_) => {
                self.turn(index, hollow);
                Ok(())
            }
        }
    }
}
