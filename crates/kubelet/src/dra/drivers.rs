//! Drivers that have registered, and how they are called.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use knarr_kubelet_api::{
    dra::{
        v1::{self, dra_plugin_client::DraPluginClient},
        v1beta1::dra_plugin_client::DraPluginClient as OldDraPluginClient,
    },
    tonic,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    context::Shared,
    plugins::{Handler, Plugin},
};

/// What drivers call their type.
pub(crate) const DRA_PLUGIN: &str = "DRAPlugin";
/// How long a driver has for one call, as upstream.
const CALL_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a driver that is gone has to come back before its slices go, as upstream.
pub(super) const WIPING_DELAY: Duration = Duration::from_secs(30);

/// The services that the kubelet can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    V1,
    V1Beta1,
}

const SERVICES: [(&str, Service); 2] = [
    ("v1.DRAPlugin", Service::V1),
    ("v1beta1.DRAPlugin", Service::V1Beta1),
];

/// The first of a plugin's services that the kubelet knows.
fn service(versions: &[String]) -> Result<Service, String> {
    if versions.is_empty() {
        return Err("empty list of supported gRPC services (aka supported versions)".to_owned());
    }
    let known = |version: &String| SERVICES.iter().find(|(name, _)| name == version);
    match versions.iter().find_map(known) {
        Some((_, service)) => Ok(*service),
        None => Err(format!(
            "none of services supported by the plugin ({versions:?}) are supported by the kubelet ({:?})",
            SERVICES.map(|(name, _)| name)
        )),
    }
}

/// A driver's plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    socket: PathBuf,
    service: Service,
}

/// All of a node.
#[derive(Default)]
pub(crate) struct Drivers {
    /// Plugins of each driver: while one is replaced there are two, and the newer is called.
    registered: Mutex<BTreeMap<String, Vec<Driver>>>,
    /// Drivers that are gone, and when their slices go.
    pub(super) gone: Mutex<BTreeMap<String, Instant>>,
    /// Rung when a driver has gone.
    pub(super) changed: Notify,
}

impl Drivers {
    /// Whether a plugin can be called.
    ///
    /// # Errors
    /// In upstream's words.
    pub(crate) fn validate(
        &self,
        name: &str,
        socket: &Path,
        versions: &[String],
    ) -> Result<(), String> {
        service(versions).map(drop).map_err(|error| {
            let endpoint = socket.display();
            format!(
                "invalid supported gRPC versions of DRA driver plugin {name} at endpoint {endpoint}: {error}"
            )
        })
    }

    /// Calls a plugin from now on.
    pub(crate) fn add(
        &self,
        name: &str,
        socket: PathBuf,
        versions: &[String],
    ) -> Result<(), String> {
        let driver = Driver {
            service: service(versions)?,
            socket,
        };
        let mut registered = self.registered.lock();
        let plugins = registered.entry(name.to_owned()).or_default();
        if plugins.iter().any(|plugin| plugin.socket == driver.socket) {
            let endpoint = driver.socket.display();
            return Err(format!(
                "endpoint {endpoint} already registered for DRA driver plugin {name}"
            ));
        }
        plugins.push(driver);
        drop(registered);
        self.gone.lock().remove(name);
        Ok(())
    }

    /// Does not call a plugin any more.
    pub(crate) fn remove(&self, name: &str, socket: &Path) {
        let mut registered = self.registered.lock();
        let Some(plugins) = registered.get_mut(name) else {
            return;
        };
        plugins.retain(|plugin| plugin.socket != socket);
        if !plugins.is_empty() {
            return;
        }
        registered.remove(name);
        drop(registered);
        let due = Instant::now() + WIPING_DELAY;
        self.gone.lock().insert(name.to_owned(), due);
        self.changed.notify_one();
    }

    /// A driver has slices, and should have registered by now.
    pub(super) fn miss(&self, name: &str) {
        let registered = self.registered.lock();
        if !registered.contains_key(name) {
            self.gone.lock().insert(name.to_owned(), Instant::now());
            self.changed.notify_one();
        }
    }

    /// # Errors
    /// Where there is none of that name.
    pub(super) fn get(&self, name: &str) -> Result<Driver, String> {
        let registered = self.registered.lock();
        let found = registered.get(name).and_then(|plugins| plugins.last());
        let found = found.cloned();
        found.ok_or_else(|| format!("DRA driver {name} is not registered"))
    }
}

/// Takes plugins of drivers from the plugin manager.
pub(crate) struct Registered(pub Shared);

impl Registered {
    fn socket(&self, plugin: &Plugin) -> PathBuf {
        self.0.config.root().resolve(&plugin.endpoint)
    }
}

#[async_trait]
impl Handler for Registered {
    async fn validate(&self, plugin: &Plugin) -> Result<(), String> {
        let drivers = &self.0.dra.drivers;
        drivers.validate(&plugin.name, &plugin.endpoint, &plugin.versions)
    }

    async fn register(&self, plugin: &Plugin) -> Result<(), String> {
        let drivers = &self.0.dra.drivers;
        drivers.add(&plugin.name, self.socket(plugin), &plugin.versions)
    }

    async fn deregister(&self, plugin: &Plugin) {
        self.0
            .dra
            .drivers
            .remove(&plugin.name, &self.socket(plugin));
    }
}

impl Driver {
    pub(super) async fn prepare(
        &self,
        request: v1::NodePrepareResourcesRequest,
    ) -> Result<v1::NodePrepareResourcesResponse, String> {
        let call = async {
            let channel = self.dial().await?;
            let answer = match self.service {
                Service::V1 => {
                    DraPluginClient::new(channel)
                        .node_prepare_resources(request)
                        .await
                }
                Service::V1Beta1 => {
                    OldDraPluginClient::new(channel)
                        .node_prepare_resources(request)
                        .await
                }
            };
            told(answer)
        };
        in_time(call).await
    }

    pub(super) async fn unprepare(
        &self,
        request: v1::NodeUnprepareResourcesRequest,
    ) -> Result<v1::NodeUnprepareResourcesResponse, String> {
        let call = async {
            let channel = self.dial().await?;
            let answer = match self.service {
                Service::V1 => {
                    DraPluginClient::new(channel)
                        .node_unprepare_resources(request)
                        .await
                }
                Service::V1Beta1 => {
                    OldDraPluginClient::new(channel)
                        .node_unprepare_resources(request)
                        .await
                }
            };
            told(answer)
        };
        in_time(call).await
    }

    async fn dial(&self) -> Result<tonic::transport::Channel, String> {
        let dialled = knarr_csi::dial(&self.socket).await;
        dialled.map_err(|error| error.to_string())
    }
}

fn told<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, String> {
    let answer = answer.map(tonic::Response::into_inner);
    answer.map_err(|status| {
        format!(
            "rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )
    })
}

async fn in_time<T>(call: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late =
        || Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned());
    timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_that_is_known_is_called() {
        let of = |versions: &[&str]| {
            let versions: Vec<String> = versions.iter().map(|v| (*v).to_owned()).collect();
            service(&versions)
                .map_err(|error| error.split(' ').next().unwrap_or_default().to_owned())
        };
        assert_eq!(of(&["v1.DRAPlugin", "v1beta1.DRAPlugin"]), Ok(Service::V1));
        assert_eq!(
            of(&["v2.DRAPlugin", "v1beta1.DRAPlugin"]),
            Ok(Service::V1Beta1)
        );
        assert_eq!(of(&["1.0.0"]), Err("none".to_owned()));
        assert_eq!(of(&[]), Err("empty".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newer_of_two_plugins_is_called() {
        let drivers = Drivers::default();
        let versions = ["v1.DRAPlugin".to_owned()];
        let (old, new) = (PathBuf::from("/old"), PathBuf::from("/new"));
        drivers.add("d", old.clone(), &versions).unwrap();
        drivers.add("d", new.clone(), &versions).unwrap();
        assert!(drivers.add("d", new.clone(), &versions).is_err());
        assert_eq!(drivers.get("d").unwrap().socket, new);
        drivers.remove("d", &new);
        assert_eq!(drivers.get("d").unwrap().socket, old);
        assert!(drivers.gone.lock().is_empty());
        drivers.remove("d", &old);
        assert_eq!(
            drivers.get("d").unwrap_err(),
            "DRA driver d is not registered"
        );
        assert!(drivers.gone.lock().contains_key("d"));
        drivers.add("d", new, &versions).unwrap();
        assert!(drivers.gone.lock().is_empty(), "it has come back");
    }
}
