//! What drivers have prepared on this node, in memory and on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use k8s_openapi::api::resource::v1::ResourceClaim;
use knarr_devices::claim;
use knarr_kubelet_api::dra::v1 as api;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::disk;

/// Of the file's form.
const VERSION: u32 = 1;

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Preparing,
    Prepared,
    Unpreparing,
}

/// A device that a driver has prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Device {
    pub pool: String,
    pub device: String,
    pub share: Option<String>,
    /// Requests of the claim that it is for; none: all of them.
    pub requests: Vec<String>,
    /// `vendor.com/class=name`
    pub cdi: Vec<String>,
}

impl Device {
    pub fn of(device: &api::Device) -> Self {
        Self {
            pool: device.pool_name.clone(),
            device: device.device_name.clone(),
            share: device.share_id.clone(),
            requests: device.request_names.clone(),
            cdi: device.cdi_device_ids.clone(),
        }
    }

    /// Whether it is for a request; an empty one means any. Drivers name a request or one of its alternatives.
    pub fn is_for(&self, request: &str) -> bool {
        let base = |name: &str| claim::base_request(name) == request;
        let mut requests = self.requests.iter();
        request.is_empty()
            || self.requests.is_empty()
            || requests.any(|name| name == request || base(name))
    }
}

/// A claim with its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub(super) state: State,
    /// Uids of the pods that use it.
    pods: BTreeSet<String>,
    /// Devices by their drivers.
    pub drivers: BTreeMap<String, Vec<Device>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    claims: Vec<Prepared>,
}

/// All of a node, by the claims' uids.
pub(super) struct Records {
    path: PathBuf,
    claims: Mutex<BTreeMap<String, Prepared>>,
}

impl Records {
    /// A file that cannot be read counts as none: drivers prepare anew then, which they can do twice. Blocks.
    pub fn load(path: PathBuf) -> Self {
        let claims = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<File>(&bytes) {
                Ok(file) if file.version == VERSION => file.claims,
                Ok(file) => {
                    let (path, version) = (path.display(), file.version);
                    tracing::warn!(%path, version, "a record of prepared claims has a form that is not known");
                    Vec::new()
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a record of prepared claims cannot be read");
                    Vec::new()
                }
            },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "a record of prepared claims cannot be read");
                }
                Vec::new()
            }
        };
        let claims = claims.into_iter().map(|claim| (claim.uid.clone(), claim));
        Self {
            claims: Mutex::new(claims.collect()),
            path,
        }
    }

    /// Changes the claims, and has them on disk.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Prepared>) -> Result<T, String>,
    ) -> Result<T, String> {
        disk::waiting(|| {
            let mut claims = self.claims.lock();
            let before = claims.clone();
            let result = change(&mut claims)?;
            if *claims == before {
                return Ok(result);
            }
            let file = File {
                version: VERSION,
                claims: claims.values().cloned().collect(),
            };
            let written = serde_json::to_vec(&file).map_err(io::Error::from);
            let written = written.and_then(|bytes| knarr_host::write_durably(&self.path, &bytes));
            if let Err(error) = written {
                *claims = before;
                return Err(format!("checkpoint ResourceClaim state: {error}"));
            }
            Ok(result)
        })
    }

    /// Notes that a pod uses a claim, before drivers are asked; how far the claim is.
    pub fn begin(
        &self,
        claim: &ResourceClaim,
        drivers: &BTreeSet<String>,
        pod: &str,
    ) -> Result<State, String> {
        let set = |text: &Option<String>| text.clone().unwrap_or_default();
        let (uid, namespace) = (set(&claim.metadata.uid), set(&claim.metadata.namespace));
        let name = set(&claim.metadata.name);
        self.change(|claims| {
            let mut same = claims.values();
            let other = same.find(|other| {
                other.namespace == namespace && other.name == name && other.uid != uid
            });
            if let Some(other) = other {
                return Err(format!(
                    "old ResourceClaim with same name {name} and different UID {} still exists (previous pod force-deleted?!)",
                    other.uid
                ));
            }
            let entry = claims.entry(uid.clone()).or_insert_with(|| Prepared {
                uid,
                namespace,
                name: name.clone(),
                state: State::Preparing,
                pods: BTreeSet::new(),
                drivers: drivers.iter().map(|driver| (driver.clone(), Vec::new())).collect(),
            });
            if entry.state == State::Unpreparing {
                return Err(format!("ResourceClaim {name} is being unprepared"));
            }
            entry.pods.insert(pod.to_owned());
            Ok(entry.state)
        })
    }

    /// What a driver has prepared of a claim; on disk with [`Records::prepared`].
    pub fn set_devices(&self, uid: &str, driver: &str, devices: Vec<Device>) {
        if let Some(claim) = self.claims.lock().get_mut(uid) {
            claim.drivers.insert(driver.to_owned(), devices);
        }
    }

    /// All drivers of these claims are done.
    pub fn prepared(&self, uids: &[String]) -> Result<(), String> {
        self.change(|claims| {
            for uid in uids {
                if let Some(claim) = claims.get_mut(uid) {
                    claim.state = State::Prepared;
                }
            }
            Ok(())
        })
    }

    /// A pod ends; the claims that nobody else uses.
    pub fn end(&self, pod: &str) -> Result<Vec<Prepared>, String> {
        self.change(|claims| {
            let mut ended = Vec::new();
            for claim in claims.values_mut().filter(|claim| claim.pods.contains(pod)) {
                if claim.pods.len() > 1 {
                    claim.pods.remove(pod);
                } else {
                    claim.state = State::Unpreparing;
                    ended.push(claim.clone());
                }
            }
            Ok(ended)
        })
    }

    /// Drivers have undone these.
    pub fn forget(&self, uids: &[String]) -> Result<(), String> {
        self.change(|claims| {
            claims.retain(|uid, _| !uids.contains(uid));
            Ok(())
        })
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Prepared> {
        let claims = self.claims.lock();
        let mut all = claims.values();
        let is_it = |claim: &&Prepared| claim.namespace == namespace && claim.name == name;
        all.find(is_it).cloned()
    }

    /// Uids of pods that use claims.
    pub fn pods(&self) -> BTreeSet<String> {
        let claims = self.claims.lock();
        claims
            .values()
            .flat_map(|claim| claim.pods.iter().cloned())
            .collect()
    }
}
