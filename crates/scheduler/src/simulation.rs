//! What the scheduler would do with a pod, and why: the same plugins, without a cluster.
//!
//! A simulation is told of nodes, pods and whatever else plugins look at; then it places pods as the scheduler does, or
//! explains what each plugin says of each node. Nothing is written anywhere.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        Service,
    },
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use knarr_client::csidriver::CsiDriver;
use knarr_devices::taints::DeviceTaintRule;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    config::Config,
    cycle,
    framework::{Profiles, Reservation},
    plugins::{self, Sources, default_preemption::Nomination},
    pod_info::PodInfo,
    rejection::Rejection,
    state::State,
};

/// What a simulation can be told of.
pub enum Object {
    Node(Box<Node>),
    /// One that is bound counts on its node, one that is nominated holds room there.
    Pod(Box<Pod>),
    Namespace(Box<Namespace>),
    Service(Box<Service>),
    ReplicationController(Box<ReplicationController>),
    ReplicaSet(Box<ReplicaSet>),
    StatefulSet(Box<StatefulSet>),
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    PersistentVolumeClaim(Box<PersistentVolumeClaim>),
    PersistentVolume(Box<PersistentVolume>),
    StorageClass(Box<StorageClass>),
    ResourceClaim(Box<ResourceClaim>),
    ResourceSlice(Box<ResourceSlice>),
    DeviceClass(Box<DeviceClass>),
    DeviceTaintRule(Box<DeviceTaintRule>),
    CsiDriver(Box<CsiDriver>),
    CsiNode(Box<CSINode>),
    CsiStorageCapacity(Box<CSIStorageCapacity>),
    VolumeAttachment(Box<VolumeAttachment>),
}

impl Object {
    /// An object as JSON; `None` for one of a kind that no plugin looks at.
    ///
    /// # Errors
    /// It is none of its kind.
    pub fn read(tree: Value) -> Result<Option<Self>, serde_json::Error> {
        fn of<K: DeserializeOwned>(
            make: impl FnOnce(Box<K>) -> Object,
            tree: Value,
        ) -> Result<Option<Object>, serde_json::Error> {
            serde_json::from_value(tree).map(|object| Some(make(Box::new(object))))
        }
        let kind = tree.get("kind").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Node" => of(Self::Node, tree),
            "Pod" => of(Self::Pod, tree),
            "Namespace" => of(Self::Namespace, tree),
            "Service" => of(Self::Service, tree),
            "ReplicationController" => of(Self::ReplicationController, tree),
            "ReplicaSet" => of(Self::ReplicaSet, tree),
            "StatefulSet" => of(Self::StatefulSet, tree),
            "PodDisruptionBudget" => of(Self::PodDisruptionBudget, tree),
            "PersistentVolumeClaim" => of(Self::PersistentVolumeClaim, tree),
            "PersistentVolume" => of(Self::PersistentVolume, tree),
            "StorageClass" => of(Self::StorageClass, tree),
            "ResourceClaim" => of(Self::ResourceClaim, tree),
            "ResourceSlice" => of(Self::ResourceSlice, tree),
            "DeviceClass" => of(Self::DeviceClass, tree),
            "DeviceTaintRule" => of(Self::DeviceTaintRule, tree),
            "CSIDriver" => of(Self::CsiDriver, tree),
            "CSINode" => of(Self::CsiNode, tree),
            "CSIStorageCapacity" => of(Self::CsiStorageCapacity, tree),
            "VolumeAttachment" => of(Self::VolumeAttachment, tree),
            _ => Ok(None),
        }
    }
}

/// A cluster in memory.
pub struct Simulation {
    profiles: Profiles,
    sources: Sources,
    state: State,
}

/// What came of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It goes to one of these nodes, which are equally good. It counts on the first of them from now on.
    Nodes(Vec<String>),
    Waits {
        /// What its events would say.
        message: String,
        /// The node that it holds room on from now on.
        nominated: Option<String>,
        /// `namespace/name` of the pods that would be ended for it, the most important one first.
        victims: Vec<String>,
    },
}

/// What is said of a pod on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What each plugin adds to its score, in their order.
    Fits(Vec<(&'static str, i64)>),
    RuledOut {
        plugin: &'static str,
        reasons: Vec<String>,
        /// Whether other pods are in the way, whose end would help.
        resolvable: bool,
        /// What would have to change for it to fit, as far as its plugin can tell.
        remedies: Vec<String>,
    },
}

/// What is said of a pod on each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The plugin that rules out every node, and why.
    pub everywhere: Option<(&'static str, String)>,
    /// By name, sorted.
    pub nodes: Vec<(String, Verdict)>,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new(&Config::default())
    }
}

impl Simulation {
    /// A cluster whose scheduler works so. Extenders are not asked.
    pub fn new(config: &Config) -> Self {
        let sources = Sources::unfed();
        Self {
            profiles: plugins::profiles(config, &sources),
            sources,
            state: State::new(config.backoff),
        }
    }

    /// Tells it of an object, or of its new state.
    pub fn add(&mut self, object: Object) {
        let (owners, devices) = (&self.sources.owners, &self.sources.devices);
        match object {
            Object::Node(node) => {
                self.state.set_node(&self.profiles, &Arc::from(node));
            }
            Object::Pod(pod) => self.add_pod(&Arc::new(PodInfo::new(&Arc::from(pod)))),
            Object::Namespace(namespace) => self.sources.namespaces.apply(*namespace),
            Object::Service(service) => owners.services.apply(*service),
            Object::ReplicationController(owner) => owners.replication_controllers.apply(*owner),
            Object::ReplicaSet(owner) => owners.replica_sets.apply(*owner),
            Object::StatefulSet(owner) => owners.stateful_sets.apply(*owner),
            Object::PodDisruptionBudget(budget) => self.sources.budgets.apply(*budget),
            Object::PersistentVolumeClaim(claim) => self.sources.claims.apply(*claim),
            Object::PersistentVolume(volume) => self.sources.volumes.apply(*volume),
            Object::StorageClass(class) => self.sources.classes.apply(*class),
            Object::ResourceClaim(claim) => devices.claims.apply(*claim),
            Object::ResourceSlice(slice) => devices.slices.apply(*slice),
            Object::DeviceClass(class) => devices.classes.apply(*class),
            Object::DeviceTaintRule(rule) => devices.rules.apply(*rule),
            Object::CsiDriver(driver) => self.sources.csi.drivers.apply(*driver),
            Object::CsiNode(node) => self.sources.csi.nodes.apply(*node),
            Object::CsiStorageCapacity(room) => self.sources.csi.capacities.apply(*room),
            Object::VolumeAttachment(of) => self.sources.csi.attachments.apply(*of),
        }
    }

    fn add_pod(&mut self, pod: &Arc<PodInfo>) {
        if pod.node_name().is_some() {
            self.state.set_pod(&self.profiles, pod.clone());
        } else if let Some(node) = pod.nominated_node() {
            self.state.snapshot.nominated.set(pod.clone(), node);
        }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, uid: &str) {
        self.state.remove_pod(&self.profiles, uid);
    }

    /// Does with the pod what the scheduler does, up to what it writes.
    pub fn schedule(&mut self, pod: Pod) -> Placement {
        let pod = Arc::new(PodInfo::new(&Arc::new(pod)));
        if let Some((_, message)) = self.held_back(&pod) {
            return Placement::Waits {
                message,
                nominated: None,
                victims: Vec::new(),
            };
        }
        let (plugins, snapshot) = (self.profiles.of(&pod), &self.state.snapshot);
        match cycle::feasible(plugins, snapshot, &pod, &mut self.state.next_node) {
            Ok(nodes) => {
                let best = cycle::best(plugins, snapshot, &pod, &nodes);
                let mut names: Vec<_> = best.iter().map(|node| node.name().to_owned()).collect();
                names.sort();
                if let Some(first) = names.first() {
                    self.keep_reserved(&pod, first);
                    self.state.assume(&self.profiles, pod, first);
                }
                Placement::Nodes(names)
            }
            Err(rejection) => self.fail(&pod, &rejection),
        }
    }

    /// Which plugin says that the pod is not to be tried yet, and why.
    fn held_back(&self, pod: &PodInfo) -> Option<(&'static str, String)> {
        let gates: Vec<_> = pod.gates().collect();
        if !gates.is_empty() {
            let gates = gates.join(" ");
            let why = format!("waiting for scheduling gates: [{gates}]");
            return Some(("SchedulingGates", why));
        }
        let plugins = self.profiles.of(pod);
        let (filter, why) = plugins.pre_enqueue(pod).err()?;
        Some((plugins.filters[filter].name(), why.into_owned()))
    }

    /// The devices that the pod gets are nobody else's from now on.
    fn keep_reserved(&self, pod: &PodInfo, node: &str) {
        if let Some(node) = self.state.snapshot.node(node)
            && let Ok(reserved) = self.profiles.of(pod).reserve(pod, node)
        {
            reserved.into_iter().for_each(Reservation::keep);
        }
    }

    fn fail(&mut self, pod: &Arc<PodInfo>, rejection: &Rejection) -> Placement {
        let failure = cycle::fail(&self.profiles, &mut self.state, pod, rejection, 0);
        let victims = failure.victims.iter();
        Placement::Waits {
            message: failure.message,
            nominated: match failure.nomination {
                Nomination::To(node) => Some(node),
                Nomination::Unchanged | Nomination::Cleared => None,
            },
            victims: victims
                .map(|victim| format!("{}/{}", victim.namespace, victim.name))
                .collect(),
        }
    }

    /// What plugins say of the pod on each node; it is placed nowhere.
    pub fn explain(&self, pod: Pod) -> Explanation {
        let pod = PodInfo::new(&Arc::new(pod));
        let (plugins, snapshot) = (self.profiles.of(&pod), &self.state.snapshot);
        let mut explanation = Explanation {
            everywhere: None,
            nodes: Vec::new(),
        };
        if let Some(held) = self.held_back(&pod) {
            explanation.everywhere = Some(held);
            return explanation;
        }
        let prepared = match plugins.pre_filter(&pod, snapshot) {
            Ok(prepared) => prepared,
            Err((filter, why)) => {
                let plugin = plugins.filters[filter].name();
                explanation.everywhere = Some((plugin, why.into_owned()));
                return explanation;
            }
        };
        let mut fitting = Vec::new();
        for node in snapshot.nodes() {
            match plugins.filter_with_nominated(&pod, node, &prepared.state, snapshot) {
                Ok(()) => fitting.push(node),
                Err((filter, refusal)) => {
                    let reasons = refusal.reasons.into_iter().map(Into::into).collect();
                    let filter = &plugins.filters[filter];
                    let verdict = Verdict::RuledOut {
                        plugin: filter.name(),
                        reasons,
                        resolvable: refusal.resolvable,
                        remedies: filter.remedies(&pod, node),
                    };
                    explanation.nodes.push((node.name().to_owned(), verdict));
                }
            }
        }
        let mut scores: Vec<Vec<(&'static str, i64)>> = vec![Vec::new(); fitting.len()];
        plugins.score(&pod, snapshot, &fitting, |plugin, added| {
            for (scores, added) in scores.iter_mut().zip(added) {
                scores.push((plugin, *added));
            }
        });
        let names = fitting.iter().map(|node| node.name().to_owned());
        let fitting = names.zip(scores.into_iter().map(Verdict::Fits));
        explanation.nodes.extend(fitting);
        explanation.nodes.sort_by(|a, b| a.0.cmp(&b.0));
        explanation
    }
}
