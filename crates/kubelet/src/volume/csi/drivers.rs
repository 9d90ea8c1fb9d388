//! The drivers that have registered with this node.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use knarr_csi::{
    Node,
    v1::{NodeGetCapabilitiesRequest, NodeGetInfoRequest, node_service_capability},
};
use parking_lot::Mutex;

use super::{node_info::NodeInfo, places};
use crate::{
    plugins::{Handler, Plugin},
    root::{Naming, Root},
};

pub(super) use node_service_capability::rpc::Type as Capability;

/// Longest name of a driver.
const MAX_NAME_BYTES: usize = 63;

/// A version of CSI.
type Version = (u32, u32, u32);

/// A driver that can be called.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    pub node: Node,
    root: Root,
    naming: Naming,
    version: Version,
    endpoint: PathBuf,
}

impl Driver {
    fn new(root: &Root, plugin: &Plugin, version: Version) -> Self {
        Self {
            node: Node::new(root.resolve(&plugin.endpoint)),
            root: root.clone(),
            naming: root.naming(&plugin.endpoint),
            version,
            endpoint: plugin.endpoint.clone(),
        }
    }

    /// What the driver calls a path of this machine.
    pub(super) fn path(&self, path: &Path) -> String {
        self.root.called(path, self.naming).display().to_string()
    }

    /// What the driver can do; asked each time, as another version of it may have come.
    pub(super) async fn capabilities(&self) -> Result<Capabilities, knarr_csi::Error> {
        let answer = self
            .node
            .capabilities(NodeGetCapabilitiesRequest {})
            .await?;
        let mut all = Vec::new();
        for capability in answer.capabilities {
            if let Some(node_service_capability::Type::Rpc(rpc)) = capability.r#type {
                all.push(rpc.r#type());
            }
        }
        Ok(Capabilities(all))
    }
}

/// What a driver can do.
#[derive(Clone, Debug, Default)]
pub(super) struct Capabilities(Vec<Capability>);

impl Capabilities {
    pub(super) fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

/// By name; clones share them.
#[derive(Clone)]
pub(super) struct Drivers {
    root: Root,
    all: Arc<Mutex<HashMap<String, Driver>>>,
    /// Rung when one has come.
    came: Arc<tokio::sync::Notify>,
}

impl Drivers {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            all: Arc::default(),
            came: Arc::default(),
        }
    }

    /// Told of every driver that comes.
    pub(super) fn came(&self) -> &tokio::sync::Notify {
        &self.came
    }

    /// The driver of that name.
    ///
    /// # Errors
    /// That there is none, in upstream's words.
    pub(super) fn get(&self, name: &str) -> Result<Driver, String> {
        let found = self.all.lock().get(name).cloned();
        let none = || format!("driver name {name} not found in the list of registered CSI drivers");
        found.ok_or_else(none)
    }
}

/// Takes drivers, and tells the API of them.
pub(super) struct Registration {
    drivers: Drivers,
    info: NodeInfo,
}

impl Registration {
    pub(super) fn new(drivers: Drivers, info: NodeInfo) -> Self {
        Self { drivers, info }
    }

    /// The newest version that both know.
    fn version(&self, plugin: &Plugin) -> Result<Version, String> {
        let (name, versions) = (&plugin.name, &plugin.versions);
        if versions.is_empty() {
            return Err(format!(
                "CSI driver {name:?} failed. Plugin returned an empty list for supported versions"
            ));
        }
        let parsed = versions.iter().filter_map(|version| parse(version));
        let newest = parsed.filter(|version| version.0 == 1).max();
        let newest = newest.ok_or_else(|| {
            format!("CSI driver {name:?} failed. None of the versions specified {versions:?} are supported")
        })?;
        match self.drivers.all.lock().get(name) {
            Some(other) if other.version >= newest => {
                let (major, minor, patch) = other.version;
                Err(format!(
                    "CSI driver {name:?} failed. Another driver with the same name is already registered with a higher \
                     supported version: \"{major}.{minor}.{patch}\""
                ))
            }
            _ => Ok(newest),
        }
    }

    /// Another driver of its name may have come in its place.
    fn forget(&self, plugin: &Plugin) -> bool {
        let mut all = self.drivers.all.lock();
        let own = all
            .get(&plugin.name)
            .is_some_and(|driver| driver.endpoint == plugin.endpoint);
        if own {
            all.remove(&plugin.name);
        }
        own
    }
}

/// `1.2.3`, `v1.2` or `1`.
fn parse(version: &str) -> Option<Version> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let parsed = (
        parts.next()??,
        parts.next().unwrap_or(Some(0))?,
        parts.next().unwrap_or(Some(0))?,
    );
    parts.next().is_none().then_some(parsed)
}

/// Names become directories.
fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let free = bytes.len() <= MAX_NAME_BYTES && name != places::DEVICES;
    let fits = free && bytes.iter().copied().all(is_plain);
    match fits && edge(bytes.first()) && edge(bytes.last()) {
        true => Ok(()),
        false => Err(format!("{name:?} is no name of a CSI driver")),
    }
}

#[async_trait]
impl Handler for Registration {
    async fn validate(&self, plugin: &Plugin) -> Result<(), String> {
        check_name(&plugin.name)?;
        self.version(plugin).map(drop)
    }

    async fn register(&self, plugin: &Plugin) -> Result<(), String> {
        let driver = Driver::new(&self.drivers.root, plugin, self.version(plugin)?);
        let info = driver.node.info(NodeGetInfoRequest {}).await;
        let info = info.map_err(|error| error.to_string())?;
        self.info.install(&plugin.name, info).await?;
        self.drivers.all.lock().insert(plugin.name.clone(), driver);
        self.drivers.came.notify_waiters();
        Ok(())
    }

    async fn deregister(&self, plugin: &Plugin) {
        if !self.forget(plugin) {
            return;
        }
        if let Err(error) = self.info.uninstall(&plugin.name).await {
            tracing::warn!(
                error,
                driver = plugin.name,
                "the API still tells of a CSI driver that is gone"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_parts() {
        for (text, wanted) in [
            ("1.0.0", Some((1, 0, 0))),
            ("v1.10", Some((1, 10, 0))),
            ("1", Some((1, 0, 0))),
            ("1.0.0.0", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
        assert!(parse("1.10.0") > parse("1.9.0"));
    }

    #[test]
    fn names_cannot_lead_anywhere() {
        for name in ["hostpath.csi.k8s.io", "a", "Disk_1"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "x".repeat(64);
        for name in ["", "..", "a/b", ".a", "a.", "a b", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
