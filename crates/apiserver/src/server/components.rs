//! Which of the cluster's other parts run beside the server: what ComponentStatus shows.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use knarr_registry::cache::Cache;

/// A part of the control plane, as upstream names it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Scheduler,
    ControllerManager,
}

/// Appends metrics in Prometheus' text form.
type Metrics = Box<dyn Fn(&mut String) + Send + Sync>;

/// Whether each of them runs.
#[derive(Default)]
pub struct Components {
    scheduler: AtomicBool,
    controller_manager: AtomicBool,
    /// What the scheduler counts: it has no port of its own, and shows it on the server's page.
    metrics: OnceLock<Metrics>,
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Components")
            .field("scheduler", &self.scheduler)
            .field("controller_manager", &self.controller_manager)
            .finish_non_exhaustive()
    }
}

/// A component runs for as long as this is held.
#[derive(Debug)]
pub struct Running {
    components: Arc<Components>,
    component: Component,
}

impl Components {
    fn flag(&self, component: Component) -> &AtomicBool {
        match component {
            Component::Scheduler => &self.scheduler,
            Component::ControllerManager => &self.controller_manager,
        }
    }

    /// Says that a component runs.
    pub fn running(self: &Arc<Self>, component: Component) -> Running {
        self.flag(component).store(true, Ordering::Release);
        Running {
            components: self.clone(),
            component,
        }
    }

    /// Has the scheduler's metrics shown at `/metrics`, once.
    pub fn show_metrics(&self, metrics: impl Fn(&mut String) + Send + Sync + 'static) {
        // A second scheduler beside one server is none.
        let _ = self.metrics.set(Box::new(metrics));
    }

    /// Appends what is shown so.
    pub fn append_metrics(&self, out: &mut String) {
        if let Some(metrics) = self.metrics.get() {
            metrics(out);
        }
    }

    /// Names in their order, with why those that are unhealthy are so.
    pub async fn health(&self, cache: &Cache) -> [(&'static str, Result<(), String>); 3] {
        let runs = |component| match self.flag(component).load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("does not run beside this server".to_owned()),
        };
        // A read that sees all that was written asks the store.
        let store = cache.fresh().await.map_err(|status| status.message);
        [
            ("controller-manager", runs(Component::ControllerManager)),
            ("etcd-0", store),
            ("scheduler", runs(Component::Scheduler)),
        ]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let flag = self.components.flag(self.component);
        flag.store(false, Ordering::Release);
    }
}
