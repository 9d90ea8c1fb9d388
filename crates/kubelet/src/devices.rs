//! Device plugins: programs that tell of devices by socket, which count as extended resources of the node.
//!
//! ```text
//! plugin --Register--> [`registration`] --ListAndWatch--> devices of a resource --> capacity of the node
//! worker: start of a pod --> allocate: choose ([`stock`]), Allocate --> [`record`] --> what a container gets
//! ```
//!
//! As upstream's `pkg/kubelet/cm/devicemanager`. Devices are chosen when a pod starts for the first time, and are its own until it has
//! ended; a pod that cannot have them is turned away. What was chosen is on disk, for containers that start anew under the next kubelet.

mod near;
mod plugin;
mod record;
mod registration;
mod stock;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_kubelet_api::device_plugin as api;
use knarr_meta::Quantity;
use knarr_numa::{Hints, Mask};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{context, disk};
use plugin::Plugin;
pub(crate) use record::Options;
use record::{File, Given, Records};
pub(crate) use registration::{DEVICE_PLUGIN, Registered, run};
use stock::{Device, Stock};

/// How long the devices of plugins that are gone count still, as unhealthy ones, as upstream.
const STOP_GRACE: Duration = Duration::from_secs(300);

/// The devices of a node, and who has them.
pub(crate) struct DevicePlugins {
    path: PathBuf,
    state: Mutex<State>,
    /// Devices are chosen for one pod at a time.
    choosing: tokio::sync::Mutex<()>,
    /// Rung when there are more devices or less.
    pub changed: Notify,
}

#[derive(Default)]
struct State {
    /// By the resource's name.
    resources: BTreeMap<String, Stock>,
    records: Records,
}

/// What a container wants of a plugin's resource.
struct Want<'p> {
    container: &'p Container,
    /// It ends before the next one starts: those may have its devices.
    ends: bool,
    /// It starts with the init containers and stays.
    sidecar: bool,
    resource: String,
    count: usize,
}

impl DevicePlugins {
    /// Reads what a kubelet before this one has given to pods.
    pub(crate) fn load(path: PathBuf) -> Self {
        let file = disk::waiting(|| record::load(&path));
        let resources = file.resources.into_iter();
        let state = State {
            // Nobody has told of their devices yet.
            resources: resources.map(|name| (name, Stock::left())).collect(),
            records: file.records,
        };
        Self {
            path,
            state: Mutex::new(state),
            choosing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn write(&self) -> Result<(), String> {
        disk::waiting(|| {
            let state = self.state.lock();
            let known = state
                .resources
                .iter()
                .filter(|(_, stock)| !stock.is_gone_for(STOP_GRACE));
            let file = File {
                resources: known.map(|(name, _)| name.clone()).collect(),
                records: state.records.clone(),
            };
            record::write(&self.path, &file)
        })
    }

    /// What the node has: all devices and those that can be given, by resource. None are left of one whose plugins have been gone for
    /// long.
    pub(crate) fn capacity(&self) -> BTreeMap<String, (usize, usize)> {
        let state = self.state.lock();
        let resources = state.resources.iter();
        let count = |stock: &Stock| match stock.is_gone_for(STOP_GRACE) {
            true => (0, 0),
            false => stock.count(),
        };
        resources
            .map(|(name, stock)| (name.clone(), count(stock)))
            .collect()
    }

    /// What a container wants of device plugins, in the order in which containers start.
    fn wants<'p>(&self, pod: &'p Pod) -> Vec<Want<'p>> {
        let spec = pod.spec.as_ref();
        let init = spec
            .and_then(|spec| spec.init_containers.as_deref())
            .unwrap_or_default();
        let main = spec
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        let state = self.state.lock();
        let uid = context::uid(pod);
        let mut wants = Vec::new();
        let all = init.iter().map(|container| (container, true));
        for (container, init) in all.chain(main.iter().map(|container| (container, false))) {
            let ends = init && container.restart_policy.as_deref() != Some("Always");
            for (resource, count) in limits(container) {
                let known = state.resources.contains_key(&resource)
                    || state.records.get(uid, &container.name, &resource).is_some();
                if count > 0 && known && !is_claimed(pod, &container.name, &resource) {
                    wants.push(Want {
                        container,
                        ends,
                        sidecar: init && !ends,
                        resource,
                        count,
                    });
                }
            }
        }
        wants
    }

    /// Chooses devices for a pod that has none yet, and has its plugins make them ready.
    ///
    /// # Errors
    /// In upstream's words; the pod is to be turned away then.
    pub(crate) async fn allocate(&self, pod: &Pod) -> Result<(), String> {
        self.allocate_until(pod, None, None).await
    }

    /// The same for one container, after those that start before it; near these NUMA nodes, as far as there are devices.
    ///
    /// # Errors
    /// As for all.
    pub(crate) async fn allocate_for(
        &self,
        pod: &Pod,
        container: &str,
        near: Option<Mask>,
    ) -> Result<(), String> {
        self.allocate_until(pod, Some(container), near).await
    }

    async fn allocate_until(
        &self,
        pod: &Pod,
        last: Option<&str>,
        near: Option<Mask>,
    ) -> Result<(), String> {
        if self.wants(pod).is_empty() {
            return Ok(());
        }
        let _one = self.choosing.lock().await;
        let uid = context::uid(pod);
        // Devices of containers that have ended by then, by resource.
        let mut reusable: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut changed = false;
        let order: Vec<&str> = containers(pod).map(|c| c.name.as_str()).collect();
        let place = |name: &str| order.iter().position(|known| *known == name);
        let wants = self.wants(pod);
        let wants = wants
            .iter()
            .filter(|want| last.is_none_or(|last| place(&want.container.name) <= place(last)));
        for want in wants {
            let reuse = reusable.entry(want.resource.clone()).or_default();
            let (devices, new) = self.give(uid, want, reuse, near).await?;
            changed |= new;
            match want.ends {
                true => reuse.extend(devices),
                false => reuse.retain(|device| !devices.contains(device)),
            }
        }
        match changed {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// The devices of a container, and whether they are new.
    async fn give(
        &self,
        uid: &str,
        want: &Want<'_>,
        reuse: &BTreeSet<String>,
        near: Option<Mask>,
    ) -> Result<(BTreeSet<String>, bool), String> {
        let (resource, name) = (&want.resource, &want.container.name);
        let must: BTreeSet<String> = reuse.iter().take(want.count).cloned().collect();
        let (plugin, preferred_from, must) = {
            let state = self.state.lock();
            let used = state.records.devices_of(resource);
            let stock = state.resources.get(resource);
            let given = state.records.get(uid, name, resource);
            let stock =
                stock.ok_or_else(|| format!("cannot allocate unregistered device {resource}"))?;
            if let Some(given) = given {
                stock.check_given(resource, uid, name, &given.devices, want.count)?;
                return Ok((given.devices.clone(), false));
            }
            let free = stock.free(resource, &used, reuse, want.count)?;
            let plugin = stock.plugin();
            let plugin = plugin.ok_or_else(|| format!("unknown Device Plugin {resource}"))?;
            let (free, must) = match near {
                Some(nodes) => stock.near(nodes, free, must, want.count),
                None => (free, must),
            };
            (plugin, free, must)
        };
        let preferred = plugin.preferred(&preferred_from, &must, want.count).await?;
        let chosen = stock::choose(&preferred_from, &must, &preferred, want.count);
        let answer = plugin.allocate(&chosen).await?;
        let mut state = self.state.lock();
        let topology = state
            .resources
            .get(resource)
            .map(|stock| stock.nodes_of(&chosen));
        let given = Given {
            devices: chosen.clone(),
            nodes: topology.unwrap_or_default(),
            options: Options::of(answer),
        };
        state.records.put(uid, name, resource, given);
        Ok((chosen, true))
    }

    /// From which NUMA nodes the devices of one container could come.
    pub(crate) fn hints(&self, pod: &Pod, container: &str) -> Hints {
        let uid = context::uid(pod);
        let wants = self.wants(pod);
        let state = self.state.lock();
        let mut hints = Hints::new();
        // What init containers that come before had, and what of it has found another.
        let mut reusable: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for want in &wants {
            let resource = want.resource.as_str();
            let given = state.records.get(uid, &want.container.name, resource);
            let given = given.map(|given| given.devices.clone());
            let reuse = reusable.entry(resource).or_default();
            if want.container.name == container {
                let stock = state.resources.get(resource);
                let used = state.records.devices_of(resource);
                let list =
                    stock.and_then(|stock| stock.hints(given.as_ref(), &used, reuse, want.count));
                hints.extend(list.map(|list| (resource.to_owned(), list)));
                continue;
            }
            for device in given.into_iter().flatten() {
                match want.ends {
                    true => reuse.insert(device),
                    false => reuse.remove(&device),
                };
            }
        }
        hints
    }

    /// From which NUMA nodes the devices of a whole pod could come.
    pub(crate) fn pod_hints(&self, pod: &Pod) -> Hints {
        let uid = context::uid(pod);
        let wants = self.wants(pod);
        let state = self.state.lock();
        let mut hints = Hints::new();
        for (resource, count) in near::of_pod(&wants) {
            let containers = wants.iter().filter(|want| want.resource == resource);
            let given: BTreeSet<String> = containers
                .filter_map(|want| state.records.get(uid, &want.container.name, resource))
                .flat_map(|given| given.devices.iter().cloned())
                .collect();
            let given = (!given.is_empty()).then_some(given);
            let used = state.records.devices_of(resource);
            let stock = state.resources.get(resource);
            let none = BTreeSet::new();
            let list = stock.and_then(|stock| stock.hints(given.as_ref(), &used, &none, count));
            hints.extend(list.map(|list| (resource.to_owned(), list)));
        }
        hints
    }

    /// Has plugins prepare the devices of a container that is about to start, where they want to.
    ///
    /// # Errors
    /// In upstream's words.
    pub(crate) async fn pre_start(&self, pod: &Pod, container: &Container) -> Result<(), String> {
        let uid = context::uid(pod);
        let calls: Vec<(Plugin, BTreeSet<String>)> = {
            let state = self.state.lock();
            let of_container = state.records.of_container(uid, &container.name);
            let calls = of_container.filter_map(|(resource, given)| {
                let plugin = state.resources.get(resource)?.plugin()?;
                plugin
                    .wants_pre_start()
                    .then(|| (plugin, given.devices.clone()))
            });
            calls.collect()
        };
        for (plugin, devices) in calls {
            let started = plugin.pre_start(&devices).await;
            started.map_err(|error| {
                format!("device plugin PreStartContainer rpc failed with err: {error}")
            })?;
        }
        Ok(())
    }

    /// What a container gets with its devices.
    pub(crate) fn options(&self, pod: &Pod, container: &Container) -> Options {
        let state = self.state.lock();
        let mut all = Options::default();
        for (_, given) in state
            .records
            .of_container(context::uid(pod), &container.name)
        {
            all.merge(&given.options);
        }
        all
    }

    /// The devices of a container by resource, with the NUMA nodes that they are near.
    pub(crate) fn devices_of(&self, pod: &Pod, container: &Container) -> Vec<Held> {
        let state = self.state.lock();
        let of_container = state
            .records
            .of_container(context::uid(pod), &container.name);
        of_container
            .map(|(resource, given)| Held {
                resource: resource.to_owned(),
                devices: given.devices.clone(),
                nodes: given.nodes.clone(),
            })
            .collect()
    }

    /// All devices that can be given.
    pub(crate) fn allocatable(&self) -> Vec<Held> {
        let state = self.state.lock();
        let resources = state.resources.iter();
        resources
            .map(|(resource, stock)| {
                let devices = stock.healthy();
                Held {
                    resource: resource.clone(),
                    nodes: stock.nodes_of(&devices),
                    devices,
                }
            })
            .collect()
    }

    /// A pod has ended: its devices are free.
    pub(crate) fn release(&self, uid: &str) -> Result<(), String> {
        if !self.state.lock().records.remove(uid) {
            return Ok(());
        }
        self.write()
    }

    /// What a plugin tells of its devices.
    fn tell(&self, resource: &str, devices: Vec<api::Device>) {
        let mut state = self.state.lock();
        if let Some(stock) = state.resources.get_mut(resource) {
            stock.set(
                devices
                    .into_iter()
                    .map(|device| (device.id.clone(), Device::of(&device))),
            );
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A plugin has come.
    fn connect(&self, resource: &str, plugin: Plugin) -> Result<(), String> {
        let mut state = self.state.lock();
        let stock = state
            .resources
            .entry(resource.to_owned())
            .or_insert_with(Stock::left);
        stock.connect(plugin)?;
        drop(state);
        self.write()
    }

    /// A plugin is gone.
    fn disconnect(&self, resource: &str, socket: &std::path::Path) {
        let mut state = self.state.lock();
        if let Some(stock) = state.resources.get_mut(resource) {
            stock.disconnect(socket);
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// Devices of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub resource: String,
    pub devices: BTreeSet<String>,
    /// By device; none where it is near none.
    pub nodes: BTreeMap<String, Vec<i64>>,
}

/// The limits of a container, as whole numbers.
fn limits(container: &Container) -> Vec<(String, usize)> {
    let limits = container
        .resources
        .as_ref()
        .and_then(|all| all.limits.as_ref());
    let count = |quantity: &ApiQuantity| {
        let quantity = Quantity::parse(&quantity.0).ok()?;
        usize::try_from(quantity.value()).ok()
    };
    let limits = limits.into_iter().flatten();
    limits
        .filter_map(|(name, quantity)| Some((name.clone(), count(quantity)?)))
        .collect()
}

/// Whether a container has a resource by a claim of the scheduler's.
pub(crate) fn is_claimed(pod: &Pod, container: &str, resource: &str) -> bool {
    let status = pod.status.as_ref();
    let extended = status.and_then(|status| status.extended_resource_claim_status.as_ref());
    let mut mappings = extended
        .into_iter()
        .flat_map(|extended| &extended.request_mappings);
    mappings.any(|mapping| mapping.container_name == container && mapping.resource_name == resource)
}

/// The containers that have resources, in the order in which they start.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    })
}
