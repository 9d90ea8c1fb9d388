//! What the API is told of this node's drivers: the CSINode, and the annotation and topology labels of the Node. As upstream's
//! `pkg/volume/csi/nodeinfomanager`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::Node,
        storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use knarr_client::errors;
use knarr_csi::v1::NodeGetInfoResponse;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What each driver calls this node, a JSON object.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// In-tree plugins whose volumes CSI drivers serve.
const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";
/// Those of upstream's kubelet.
const MIGRATED_PLUGINS: &str = "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume";
/// Longest that one change of both objects may take.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a change is tried that others come in between of.
const TRIES: u32 = 5;
/// Before the second try; doubles.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest pause before the CSINode is made, while the API server is away.
const RETRY_LONGEST: Duration = Duration::from_secs(7);
/// Most topology keys of a driver: each becomes a label of the Node.
const MAX_TOPOLOGY_KEYS: usize = 64;

/// Writes for one node; clones share the turn.
#[derive(Clone)]
pub(super) struct NodeInfo {
    client: kube::Client,
    node: String,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", errors::message(.0))]
    Api(#[from] kube::Error),
    /// Trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// There was one of an earlier Node.
    #[error("CSINode {0:?} was owned by different node, deleted it")]
    Replaced(String),
}

impl Error {
    fn is_final(&self) -> bool {
        match self {
            Error::Api(error) => !errors::is_conflict(error) && !errors::is_already_exists(error),
            Error::Refused(_) => true,
            Error::Replaced(_) => false,
        }
    }
}

/// What is to be so.
enum Work<'a> {
    /// In the CSINode.
    Entry(Entry<'a>),
    /// On the Node: what the driver calls it, and where it is.
    Label {
        driver: &'a str,
        id: Option<&'a str>,
        topology: &'a BTreeMap<String, String>,
    },
}

enum Entry<'a> {
    /// As they are: there is to be a CSINode.
    Keep,
    Put(CSINodeDriver),
    Remove(&'a str),
}

impl Entry<'_> {
    /// Tells whether it was not so yet.
    fn apply(&self, csi_node: &mut CSINode) -> bool {
        match self {
            Entry::Keep => false,
            Entry::Put(entry) => put(csi_node, entry),
            Entry::Remove(name) => {
                let drivers = &mut csi_node.spec.drivers;
                let before = drivers.len();
                drivers.retain(|entry| entry.name != *name);
                drivers.len() < before
            }
        }
    }
}

impl NodeInfo {
    pub(super) fn new(client: kube::Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
            turn: Arc::default(),
        }
    }

    /// Sees to it that there is a CSINode, before there is any driver; others wait for it.
    pub(super) async fn run(&self, token: CancellationToken) {
        let work = async {
            let mut wait = RETRY_FIRST;
            while let Err(error) = self.make(&Work::Entry(Entry::Keep)).await {
                tracing::debug!(error, "cannot make the CSINode, trying again");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(RETRY_LONGEST);
            }
        };
        token.run_until_cancelled(work).await;
    }

    /// Tells of a driver.
    pub(super) async fn install(
        &self,
        driver: &str,
        info: NodeGetInfoResponse,
    ) -> Result<(), String> {
        if info.node_id.is_empty() {
            return Err(
                "error adding CSI driver node info: driverNodeID must not be empty".to_owned(),
            );
        }
        let topology: BTreeMap<String, String> = info
            .accessible_topology
            .map(|topology| topology.segments.into_iter().collect())
            .unwrap_or_default();
        if topology.len() > MAX_TOPOLOGY_KEYS {
            return Err(format!("more than {MAX_TOPOLOGY_KEYS} topology keys"));
        }
        let label = Work::Label {
            driver,
            id: Some(&info.node_id),
            topology: &topology,
        };
        self.make(&label).await.map_err(|error| {
            format!("error updating Node object with CSI driver node info: {error}")
        })?;
        let entry = entry(driver, &info.node_id, info.max_volumes_per_node, &topology);
        let updated = self.make(&Work::Entry(Entry::Put(entry))).await;
        updated.map_err(|error| {
            format!("error updating CSINode object with CSI driver node info: {error}")
        })
    }

    /// Tells that a driver is gone. Its topology labels stay, as upstream leaves them: volumes may name them.
    pub(super) async fn uninstall(&self, driver: &str) -> Result<(), String> {
        let updated = self.make(&Work::Entry(Entry::Remove(driver))).await;
        updated.map_err(|error| {
            format!("error uninstalling CSI driver from CSINode object {error}")
        })?;
        let label = Work::Label {
            driver,
            id: None,
            topology: &BTreeMap::new(),
        };
        self.make(&label).await.map_err(|error| {
            format!("error removing CSI driver node info from Node object {error}")
        })
    }

    /// Makes a change, again where others come in between.
    async fn make(&self, work: &Work<'_>) -> Result<(), String> {
        let all = async {
            let _turn = self.turn.lock().await;
            let mut wait = RETRY_FIRST;
            for _ in 1..TRIES {
                match self.try_once(work).await {
                    Err(error) if !error.is_final() => {}
                    done => return done,
                }
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
            self.try_once(work).await
        };
        match tokio::time::timeout(UPDATE_TIMEOUT, all).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }

    async fn try_once(&self, work: &Work<'_>) -> Result<(), Error> {
        match work {
            Work::Entry(entry) => self.change(entry).await,
            Work::Label {
                driver,
                id,
                topology,
            } => self.label(driver, *id, topology).await,
        }
    }

    /// Changes the CSINode, which is made where there is none.
    async fn change(&self, entry: &Entry<'_>) -> Result<(), Error> {
        let api: Api<CSINode> = Api::all(self.client.clone());
        let node = Api::<Node>::all(self.client.clone())
            .get(&self.node)
            .await?;
        let uid = node.metadata.uid.unwrap_or_default();
        let Some(mut found) = api.get_opt(&self.node).await? else {
            let mut made = fresh(&self.node, &uid);
            entry.apply(&mut made);
            api.create(&PostParams::default(), &made).await?;
            return Ok(());
        };
        let mut owners = found.metadata.owner_references.iter().flatten();
        if !owners.any(|owner| owner.kind == "Node" && owner.uid == uid) {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: found.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..Default::default()
            };
            errors::optional(api.delete(&self.node, &params).await)?;
            return Err(Error::Replaced(self.node.clone()));
        }
        let marked = mark(&mut found);
        if entry.apply(&mut found) || marked {
            api.replace(&self.node, &PostParams::default(), &found)
                .await?;
        }
        Ok(())
    }

    /// Writes what the driver calls this node, or takes it away, and where the node is.
    async fn label(
        &self,
        driver: &str,
        id: Option<&str>,
        topology: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = match errors::optional(api.get(&self.node).await)? {
            Some(node) => node,
            None if id.is_none() => return Ok(()),
            None => return Err(Error::Refused(format!("node {:?} not found", self.node))),
        };
        let labels = labels(&node, topology).map_err(Error::Refused)?;
        let ids = ids(&node, driver, id).map_err(Error::Refused)?;
        if labels.is_empty() && ids.is_none() {
            return Ok(());
        }
        let mut metadata = json!({ "resourceVersion": node.metadata.resource_version });
        if let Some(ids) = ids {
            metadata["annotations"] = json!({ NODE_IDS: ids });
        }
        if !labels.is_empty() {
            metadata["labels"] = json!(labels);
        }
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        api.patch(&self.node, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }
}

fn fresh(node: &str, uid: &str) -> CSINode {
    let mut made = CSINode {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node.to_owned(),
                uid: uid.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        },
        spec: CSINodeSpec::default(),
    };
    mark(&mut made);
    made
}

/// Says which in-tree plugins' volumes are left to drivers; tells whether it did not say so yet.
fn mark(csi_node: &mut CSINode) -> bool {
    let annotations = csi_node.metadata.annotations.get_or_insert_default();
    let before = annotations.insert(MIGRATED.to_owned(), MIGRATED_PLUGINS.to_owned());
    before.as_deref() != Some(MIGRATED_PLUGINS)
}

fn entry(driver: &str, id: &str, most: i64, topology: &BTreeMap<String, String>) -> CSINodeDriver {
    let keys: BTreeSet<&String> = topology.keys().collect();
    // None, or less than none, is no limit.
    let count = (most > 0).then(|| i32::try_from(most).unwrap_or(i32::MAX));
    CSINodeDriver {
        name: driver.to_owned(),
        node_id: id.to_owned(),
        topology_keys: Some(keys.into_iter().cloned().collect()),
        allocatable: count.map(|count| VolumeNodeResources { count: Some(count) }),
    }
}

/// Puts the driver's entry in; tells whether it was not there just so.
fn put(csi_node: &mut CSINode, entry: &CSINodeDriver) -> bool {
    let drivers = &mut csi_node.spec.drivers;
    let plain = |entry: &CSINodeDriver| CSINodeDriver {
        topology_keys: Some(entry.topology_keys.clone().unwrap_or_default()),
        ..entry.clone()
    };
    if drivers.iter().any(|other| plain(other) == *entry) {
        return false;
    }
    drivers.retain(|other| other.name != entry.name);
    drivers.push(entry.clone());
    true
}

/// Labels that the Node lacks.
fn labels<'t>(
    node: &Node,
    topology: &'t BTreeMap<String, String>,
) -> Result<BTreeMap<&'t str, &'t str>, String> {
    let mut lacking = BTreeMap::new();
    for (key, value) in topology {
        let has = node
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key));
        match has {
            Some(other) if other != value => {
                return Err(format!(
                    "detected topology value collision: driver reported {key:?}:{value:?} but existing label is \
                     {key:?}:{other:?}"
                ));
            }
            Some(_) => {}
            None => {
                lacking.insert(key.as_str(), value.as_str());
            }
        }
    }
    Ok(lacking)
}

/// The annotation's new value, `Some(None)` where it goes; `None` where it is right.
fn ids(node: &Node, driver: &str, id: Option<&str>) -> Result<Option<Option<String>>, String> {
    let annotations = node.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(NODE_IDS));
    let before: BTreeMap<String, String> = match text.filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            format!("failed to parse node's {NODE_IDS:?} annotation value ({text:?}) err={error}")
        })?,
        None => BTreeMap::new(),
    };
    let mut after = before.clone();
    match id {
        Some(id) => after.insert(driver.to_owned(), id.to_owned()),
        None => after.remove(driver),
    };
    if after == before {
        return Ok(None);
    }
    if after.is_empty() {
        return Ok(Some(None));
    }
    let text = serde_json::to_string(&after).map_err(|error| error.to_string())?;
    Ok(Some(Some(text)))
}

#[cfg(test)]
mod tests;
