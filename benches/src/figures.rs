//! Every figure of the table, with the budget it must keep (docs: the design's budgets).

use crate::rows::Row;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
}

/// A line of the table.
#[derive(Debug)]
pub struct Figure {
    pub id: &'static str,
    pub row: Row,
    pub what: &'static str,
    pub unit: &'static str,
    pub better: Better,
    /// In `unit`; the figure must be strictly better.
    pub budget: Option<f64>,
}

impl Figure {
    /// Whether `value` keeps the budget; None where there is none.
    pub fn kept(&self, value: f64) -> Option<bool> {
        let budget = self.budget?;
        Some(match self.better {
            Better::Lower => value < budget,
            Better::Higher => value > budget,
        })
    }
}

const fn lower(
    row: Row,
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    budget: Option<f64>,
) -> Figure {
    Figure {
        id,
        row,
        what,
        unit,
        better: Better::Lower,
        budget,
    }
}

const fn higher(row: Row, id: &'static str, what: &'static str, budget: Option<f64>) -> Figure {
    more_of(row, id, what, "/s", budget)
}

const fn more_of(
    row: Row,
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    budget: Option<f64>,
) -> Figure {
    Figure {
        id,
        row,
        what,
        unit,
        better: Better::Higher,
        budget,
    }
}

/// In the order of the table.
pub const FIGURES: &[Figure] = &[
    lower(Row::Start, "start", "start to /readyz", "ms", Some(300.0)),
    lower(
        Row::Idle,
        "rss-control-plane",
        "idle memory, control plane",
        "MB",
        Some(40.0),
    ),
    lower(
        Row::Idle,
        "rss-node",
        "idle memory, whole node",
        "MB",
        Some(60.0),
    ),
    lower(Row::Idle, "idle-cpu", "idle CPU", "% of a core", Some(0.5)),
    lower(
        Row::Memory,
        "memory-pod",
        "memory of a pod elsewhere",
        "KB",
        Some(12.0),
    ),
    lower(
        Row::Memory,
        "memory-pod-busy",
        "  just after it was created",
        "KB",
        None,
    ),
    lower(
        Row::Memory,
        "memory-running",
        "memory of a running pod",
        "MB",
        None,
    ),
    lower(
        Row::Flood,
        "memory-flood",
        "memory left by 192 000 ConfigMaps",
        "MB",
        Some(20.0),
    ),
    higher(
        Row::Creates,
        "creates",
        "durable creates, 32 connections",
        Some(12_000.0),
    ),
    lower(Row::Creates, "creates-p50", "  p50", "ms", None),
    lower(Row::Creates, "creates-p99", "  p99", "ms", Some(10.0)),
    lower(
        Row::Creates,
        "fsync",
        "  fsync of the disk, p50",
        "ms",
        None,
    ),
    higher(
        Row::Apply,
        "applies",
        "apply of an unchanged Deployment",
        Some(12_000.0),
    ),
    lower(Row::Apply, "applies-p99", "  p99", "ms", None),
    higher(
        Row::Custom,
        "creates-custom",
        "custom resources under ten CEL rules",
        Some(6_000.0),
    ),
    lower(Row::Custom, "creates-custom-p99", "  p99", "ms", None),
    lower(
        Row::Webhook,
        "webhook",
        "a validating webhook, added to p50",
        "ms",
        Some(1.0),
    ),
    lower(
        Row::Webhook,
        "webhook-without",
        "  p50 without it",
        "ms",
        None,
    ),
    lower(
        Row::Definitions,
        "definitions",
        "500 CRDs until all are served",
        "s",
        Some(5.0),
    ),
    lower(
        Row::Definitions,
        "definitions-memory",
        "  memory",
        "MB",
        Some(40.0),
    ),
    higher(Row::Gets, "gets", "GET, 32 connections", Some(35_000.0)),
    lower(Row::Gets, "gets-p99", "  p99", "ms", None),
    higher(Row::Rbac, "gets-bound", "GET beside 8 000 bindings", None),
    lower(Row::Rbac, "gets-bound-p99", "  p99", "ms", None),
    higher(
        Row::Rbac,
        "gets-rbac",
        "  while one changes every second",
        None,
    ),
    lower(Row::Rbac, "gets-rbac-p99", "  p99", "ms", None),
    higher(Row::Protobuf, "gets-protobuf", "GET in protobuf", None),
    more_of(
        Row::Protobuf,
        "gets-protobuf-share",
        "  beside JSON",
        "%",
        Some(100.0),
    ),
    lower(Row::Protobuf, "gets-protobuf-p99", "  p99", "ms", None),
    higher(
        Row::Protobuf,
        "list-page-protobuf",
        "LIST 500 of 15 000 in protobuf",
        None,
    ),
    more_of(
        Row::Protobuf,
        "list-page-protobuf-share",
        "  beside JSON",
        "%",
        Some(100.0),
    ),
    lower(Row::Protobuf, "list-page-protobuf-p99", "  p99", "ms", None),
    higher(
        Row::ListPage,
        "list-page",
        "LIST 500 of 15 000",
        Some(1_800.0),
    ),
    lower(Row::ListPage, "list-page-p99", "  p99", "ms", None),
    higher(
        Row::ListAll,
        "list-all",
        "LIST 15 000 from cache",
        Some(55.0),
    ),
    lower(Row::ListAll, "list-all-p99", "  p99", "ms", None),
    higher(Row::Tables, "tables", "LIST 15 000 pods as a table", None),
    more_of(
        Row::Tables,
        "tables-bytes",
        "  bytes a second beside JSON",
        "%",
        Some(60.0),
    ),
    lower(Row::Tables, "tables-p99", "  p99", "ms", None),
    higher(Row::Watch, "watch", "events to 1 000 watchers", None),
    lower(
        Row::Watch,
        "watch-p50",
        "  PUT to last watcher, p50",
        "ms",
        None,
    ),
    lower(Row::Watch, "watch-p99", "  p99", "ms", None),
    higher(Row::Watchers, "watchers", "events to 10 000 watchers", None),
    lower(
        Row::Watchers,
        "watchers-p50",
        "  PUT to last watcher, p50",
        "ms",
        None,
    ),
    lower(Row::Watchers, "watchers-p99", "  p99", "ms", Some(100.0)),
    lower(
        Row::Watchers,
        "watchers-memory",
        "  memory of each",
        "KB",
        Some(16.0),
    ),
    higher(
        Row::Schedule1000,
        "schedule-1000",
        "pods bound, 1 000 nodes",
        Some(6_000.0),
    ),
    higher(
        Row::Schedule5000,
        "schedule-5000",
        "pods bound, 5 000 nodes",
        Some(5_000.0),
    ),
    higher(
        Row::ScheduleZones,
        "schedule-zones",
        "  spread over zones",
        Some(3_000.0),
    ),
    higher(
        Row::ScheduleApart,
        "schedule-apart",
        "  with anti-affinity",
        Some(1_500.0),
    ),
    lower(
        Row::Preempt,
        "preempt",
        "preemption of 1 000 victims",
        "s",
        Some(2.0),
    ),
    lower(
        Row::Rollout,
        "rollout",
        "rollout of 5 000 simulated pods",
        "s",
        None,
    ),
    lower(
        Row::Rollout,
        "rollout-writes",
        "  writes a pod",
        "writes",
        None,
    ),
    lower(
        Row::Rollout,
        "rollout-growth",
        "  the same beside a rollout of 500",
        "times",
        Some(1.2),
    ),
    lower(Row::Pods, "pods-1", "1 pod, POST to Ready", "s", Some(0.2)),
    lower(Row::Pods, "pods-10", "10 pods", "s", Some(0.5)),
    lower(Row::Pods, "pods-50", "50 pods", "s", Some(2.0)),
    lower(
        Row::Services,
        "services-10",
        "a change of 10 Services",
        "ms",
        Some(1.0),
    ),
    lower(
        Row::Services,
        "services-10000",
        "a change of 10 000 Services",
        "ms",
        Some(1.0),
    ),
    lower(Row::Services, "services-10000-p99", "  p99", "ms", None),
    lower(
        Row::Services,
        "services-start",
        "10 000 Services of 10 from nothing",
        "s",
        Some(2.0),
    ),
    higher(
        Row::Dns,
        "dns",
        "names of the cluster, a core",
        Some(100_000.0),
    ),
    lower(
        Row::Dns,
        "dns-p50",
        "  one after the other, p50",
        "ms",
        None,
    ),
];
