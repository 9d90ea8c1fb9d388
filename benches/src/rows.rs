//! The rows of the table, a file each: what is done to a cluster and which figures come of it.

use anyhow::Result;

use crate::target::Target;
use scheduler::{preempt, schedule};

pub mod apply;
pub mod creates;
pub mod custom;
pub mod definitions;
pub mod dns;
pub mod flood;
pub mod gets;
pub mod lists;
pub mod memory;
pub mod pods;
pub mod protobuf;
pub mod rbac;
pub mod rollout;
pub mod scheduler;
pub mod services;
pub mod start;
pub mod tables;
pub mod watch;
pub mod webhook;

/// How much is done.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Fewer and shorter runs: to see that all works, not to compare.
    pub quick: bool,
    /// Whether the bare server is measured beside the cluster.
    pub limit: bool,
}

impl Effort {
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What a row found. Figures go by their id in [`crate::figures::FIGURES`].
#[derive(Debug, Default)]
pub struct Measured {
    pub values: Vec<(&'static str, f64)>,
    pub limits: Vec<(&'static str, f64)>,
    pub notes: Vec<String>,
    /// Why figures of this row are absent.
    pub missing: Vec<String>,
}

impl Measured {
    fn value(&mut self, figure: &'static str, value: f64) {
        self.values.push((figure, value));
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A row, as `--only` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Row {
    /// exec to /readyz, on an empty data directory
    Start,
    /// memory and CPU with no pods
    Idle,
    /// memory of a pod, in the control plane and on its node
    Memory,
    /// memory after a flood of ConfigMaps whose history has ended (7 minutes)
    Flood,
    /// durable creates of ConfigMaps
    Creates,
    /// server-side apply of Deployments that do not change
    Apply,
    /// creates of custom resources under ten CEL rules
    Custom,
    /// what a validating webhook adds to a create
    Webhook,
    /// 500 custom resource definitions, and their memory
    Definitions,
    /// reads of single ConfigMaps
    Gets,
    /// reads in a cluster with 8 000 bindings, of which one changes every second
    Rbac,
    /// reads of single ConfigMaps and of pages in protobuf, beside those in JSON
    Protobuf,
    /// lists of 500 of 15 000
    ListPage,
    /// lists of all 15 000 from the cache
    ListAll,
    /// lists of 15 000 pods as tables, beside those as objects
    Tables,
    /// 1 000 watchers of one namespace
    Watch,
    /// 10 000 watchers of one namespace over HTTP/2, and their memory
    Watchers,
    /// pods bound to 1 000 nodes that nobody runs
    #[value(name = "schedule-1000")]
    Schedule1000,
    /// pods bound to 5 000
    #[value(name = "schedule-5000")]
    Schedule5000,
    /// pods spread over the zones of 5 000
    ScheduleZones,
    /// pods that keep apart, on 5 000
    ScheduleApart,
    /// 1 000 pods that others end for
    Preempt,
    /// a rollout of 5 000 simulated pods, in writes
    Rollout,
    /// pods from POST to Ready
    Pods,
    /// changes of Services in the kernel, of 10 and of 10 000
    Services,
    /// questions for a name of the cluster
    Dns,
}

impl Row {
    pub fn measure(self, target: &Target, effort: Effort) -> Result<Measured> {
        match self {
            // Measured while the cluster was started.
            Self::Start => start::started(target),
            Self::Idle => start::idle(target, effort),
            Self::Memory => memory::measure(target, effort),
            Self::Flood => flood::measure(target, effort),
            Self::Creates => creates::measure(target, effort),
            Self::Apply => apply::measure(target, effort),
            Self::Custom => custom::measure(target, effort),
            Self::Webhook => webhook::measure(target, effort),
            Self::Definitions => definitions::measure(target, effort),
            Self::Gets => gets::measure(target, effort),
            Self::Rbac => rbac::measure(target, effort),
            Self::Protobuf => protobuf::measure(target, effort),
            Self::ListPage => lists::page(target, effort),
            Self::ListAll => lists::all(target, effort),
            Self::Tables => tables::measure(target, effort),
            Self::Watch => watch::measure(target, effort),
            Self::Watchers => watch::many(target, effort),
            Self::Schedule1000 => schedule::few(target, effort),
            Self::Schedule5000 => schedule::many(target, effort),
            Self::ScheduleZones => schedule::zones(target, effort),
            Self::ScheduleApart => schedule::apart(target, effort),
            Self::Preempt => preempt::measure(target, effort),
            Self::Rollout => rollout::measure(target, effort),
            Self::Pods => pods::measure(target, effort),
            Self::Services => services::measure(target, effort),
            Self::Dns => dns::measure(target, effort),
        }
    }
}
