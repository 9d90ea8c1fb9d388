//! Which of the cluster's other parts run beside the server: what ComponentStatus shows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use knarr_registry::cache::Cache;

/// A part of the control plane, as upstream names it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Scheduler,
    ControllerManager,
}

/// Whether each of them runs.
#[derive(Debug, Default)]
pub struct Components {
    scheduler: AtomicBool,
    controller_manager: AtomicBool,
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
