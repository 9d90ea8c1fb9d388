//! DynamicResources: the claims of a pod have devices that its node can use, or get them.
//!
//! Which devices there are, and which of them a claim gets, is `knarr-devices`'; here it is decided when. Filter asks whether the
//! claims can be had on a node, Reserve takes what the chosen node has for them, by the same search over what is free by then, and
//! keeps it from others until the binding has ended ([`bind::Taken`]). Nothing is kept between the two: a search is pure, and
//! another pod may have been faster.
//!
//! Extended resources that a class of devices stands for become a claim that is made for the pod ([`extended`]).
//!
//! Upstream ends a pod's cycle where a claim or a class is wrong; here that rules out the node, in the same words.

mod bind;
mod extended;
mod ledger;
mod ready;
mod score;
mod search_time;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice},
};
use knarr_client::{Event, Informer, Informers};
use knarr_devices::{
    Allocator, Budget, Error, Inventory, Selectors, claim, extended::ClassNames, nodes,
    taints::DeviceTaintRule,
};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use bind::give_back;
pub use score::Points;

use crate::{
    framework::{
        Change, CycleState, DeviceEvent, Filter, PreFilter, Reason, Refusal, Reservation, Reserve,
    },
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};
use extended::Extended;
use ledger::Ledger;
use search_time::{Attempt, SearchTime};

/// Devices that may be tried on one node: less than a second.
const SEARCH_STEPS_PER_NODE: u64 = 500_000;

pub const NAME: &str = "DynamicResources";
const NOT_AVAILABLE: &str = "resourceclaim not available on the node";
const CANNOT_ALLOCATE: &str = "cannot allocate all claims";

/// What is read.
#[derive(Clone)]
pub struct Sources {
    pub claims: Informer<ResourceClaim>,
    pub classes: Informer<DeviceClass>,
    pub slices: Informer<ResourceSlice>,
    pub rules: Informer<DeviceTaintRule>,
}

impl Sources {
    pub fn new(informers: &Informers) -> Self {
        Self {
            claims: informers.informer(),
            classes: informers.informer(),
            slices: informers.informer(),
            rules: informers.informer(),
        }
    }

    /// Sources that nothing feeds but by hand.
    pub fn unfed() -> Self {
        Self {
            claims: Informer::new(),
            classes: Informer::new(),
            slices: Informer::new(),
            rules: Informer::new(),
        }
    }

    /// Waits until all have been listed once.
    pub async fn synced(&self) {
        self.claims.synced().await;
        self.classes.synced().await;
        self.slices.synced().await;
        self.rules.synced().await;
    }
}

/// The plugin.
pub struct DynamicResources {
    sources: Sources,
    ledger: Mutex<Ledger>,
    /// Made anew when a slice or a rule has changed.
    inventory: Mutex<Option<Arc<Inventory>>>,
    /// Made anew when a class has changed.
    names: Mutex<Option<Arc<ClassNames>>>,
    selectors: Selectors,
    search_time: SearchTime,
    /// Rung when a claim has changed.
    bell: watch::Sender<()>,
}

/// What is known of a pod's claims before a node is looked at.
pub struct State {
    pod: Arc<Pod>,
    /// The user's, and those that were made for the pod from templates.
    claims: Vec<Arc<ResourceClaim>>,
    /// Of those among them that need devices; `None`: there are none.
    allocator: Option<Allocator>,
    extended: Option<Extended>,
    /// Claims that have devices which a node cannot use.
    unavailable: Mutex<Vec<Arc<ResourceClaim>>>,
    attempt: Attempt,
}

/// What the claims get on a node.
struct Allocated {
    /// For those that need devices, in their order.
    results: Vec<AllocationResult>,
    /// The claim for extended resources that the last of them is for.
    extended: Option<extended::Claim>,
}

impl DynamicResources {
    pub fn new(sources: Sources) -> Arc<Self> {
        let plugin = Arc::new(Self {
            sources,
            ledger: Mutex::default(),
            inventory: Mutex::default(),
            names: Mutex::default(),
            selectors: Selectors::default(),
            search_time: SearchTime::new(Instant::now()),
            bell: watch::Sender::new(()),
        });
        plugin.watch();
        plugin
    }

    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.sources.claims.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                let mut ledger = this.ledger.lock();
                match &event {
                    Event::Deleted(gone) => ledger.gone(gone),
                    Event::Added(claim) | Event::Updated { new: claim, .. } => {
                        ledger.observe(claim)
                    }
                }
                drop(ledger);
                this.bell.send_replace(());
            }
        });
        let forget = |this: &Weak<Self>, what: fn(&Self)| {
            if let Some(this) = this.upgrade() {
                what(&this);
            }
        };
        let this = Arc::downgrade(self);
        let slices = &self.sources.slices;
        slices.on_event(move |_| forget(&this, |this| *this.inventory.lock() = None));
        let this = Arc::downgrade(self);
        let rules = &self.sources.rules;
        rules.on_event(move |_| forget(&this, |this| *this.inventory.lock() = None));
        let this = Arc::downgrade(self);
        let classes = &self.sources.classes;
        classes.on_event(move |_| forget(&this, |this| *this.names.lock() = None));
    }

    fn inventory(&self) -> Arc<Inventory> {
        let mut inventory = self.inventory.lock();
        let make = || {
            let (slices, rules) = (self.sources.slices.list(), self.sources.rules.list());
            Arc::new(Inventory::new(slices, &rules))
        };
        inventory.get_or_insert_with(make).clone()
    }

    fn names(&self) -> Arc<ClassNames> {
        let mut names = self.names.lock();
        let make = || Arc::new(ClassNames::new(self.sources.classes.list()));
        names.get_or_insert_with(make).clone()
    }

    /// The claims that a pod names.
    fn claims_of(&self, pod: &Pod) -> Result<Vec<Arc<ResourceClaim>>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut claims = Vec::new();
        for named in claim::claims(pod) {
            let Some(name) = claim::name_of(pod, named)? else {
                continue;
            };
            let Some(found) = self.sources.claims.get(namespace, name) else {
                return Err(format!(
                    "could not find ResourceClaim \"{namespace}/{name}\""
                ));
            };
            if found.metadata.deletion_timestamp.is_some() {
                return Err(format!("resourceclaim \"{name}\" is being deleted"));
            }
            if named.resource_claim_name.is_none() {
                claim::check_owner(pod, &found)?;
            }
            claims.push(found);
        }
        Ok(claims)
    }

    /// Looks at a pod's claims; `None` where it needs no devices.
    fn prepare(&self, info: &PodInfo) -> Result<Option<State>, String> {
        let Some(pod) = info.shared() else {
            return Ok(None);
        };
        let claims = self.claims_of(pod)?;
        let extended = self.extended(info);
        if claims.is_empty() && extended.is_none() {
            return Ok(None);
        }
        let needing: Vec<_> = needing(&claims).cloned().collect();
        for claim in &needing {
            if self.ledger.lock().has(uid(claim)) {
                let name = claim::full_name(claim);
                return Err(format!(
                    "resource claim {name} is in the process of being allocated"
                ));
            }
        }
        let attempt = SearchTime::attempt(&info.namespace, Instant::now());
        let allocator = match needing.is_empty() {
            true => None,
            false => {
                let made = self.search(&attempt, |budget| self.allocator(&needing, budget));
                Some(made.map_err(|error| error.to_string())?)
            }
        };
        Ok(Some(State {
            pod: pod.clone(),
            claims,
            allocator,
            extended,
            unavailable: Mutex::default(),
            attempt,
        }))
    }

    /// Does a part of an attempt within its time, and at its expense.
    fn search<T>(&self, attempt: &Attempt, part: impl FnOnce(&mut Budget) -> T) -> T {
        let began = Instant::now();
        let mut budget = Budget {
            steps: SEARCH_STEPS_PER_NODE,
            until: Some(self.search_time.until(attempt, began)),
        };
        let found = part(&mut budget);
        self.search_time.ended(attempt, began, Instant::now());
        found
    }

    fn allocator(
        &self,
        claims: &[Arc<ResourceClaim>],
        budget: &Budget,
    ) -> Result<Allocator, Error> {
        let usage = self.ledger.lock().usage();
        let classes = |name: &str| self.sources.classes.get("", name);
        let selectors = &self.selectors;
        Allocator::new(self.inventory(), usage, claims, &classes, selectors, budget)
    }

    /// Whether the claims can be had on a node, and what they get.
    fn allocate(&self, state: &State, node: &NodeInfo) -> Result<Option<Allocated>, Reason> {
        let Some(object) = node.node.as_deref() else {
            return Err(NOT_AVAILABLE.into());
        };
        let extended = match &state.extended {
            Some(extended) => extended.claim_on(&state.pod, node)?,
            None => None,
        };
        let found = self.search(&state.attempt, |budget| {
            let own;
            let allocator = match &extended {
                Some(extended) => {
                    let claims = needing(&state.claims).cloned();
                    let claims: Vec<_> = claims.chain([extended.claim.clone()]).collect();
                    own = self.allocator(&claims, budget)?;
                    Some(&own)
                }
                None => state.allocator.as_ref(),
            };
            let nothing = Some(Vec::new());
            allocator.map_or(Ok(nothing), |allocator| allocator.allocate(object, budget))
        });
        let results = match found {
            Ok(Some(results)) => results,
            Ok(None) => return Err(CANNOT_ALLOCATE.into()),
            Err(Error::Timeout) => {
                return Err(format!("node {}: {}", node.name(), Error::Timeout).into());
            }
            Err(error) => return Err(error.to_string().into()),
        };
        // What claims have already comes last: it is given back for a pod only where the pod can have the rest.
        self.check_available(state, object)?;
        Ok((!results.is_empty()).then_some(Allocated { results, extended }))
    }

    /// Whether the node can use the devices that claims have already.
    fn check_available(&self, state: &State, node: &Node) -> Result<(), Reason> {
        let mut all = true;
        for claim in &state.claims {
            let Some(allocation) = claim::allocation(claim) else {
                continue;
            };
            let selector = allocation.node_selector.as_ref();
            let here = selector.is_none_or(|selector| nodes::matches(selector, node));
            if here && !ready::is_hopeless(claim) {
                continue;
            }
            all = false;
            let mut unavailable = state.unavailable.lock();
            if !unavailable.iter().any(|known| uid(known) == uid(claim)) {
                unavailable.push(claim.clone());
            }
        }
        match all {
            true => Ok(()),
            false => Err(NOT_AVAILABLE.into()),
        }
    }

    /// Takes what the pod's claims get on the node chosen for it; `None` where there is nothing to be done for them.
    ///
    /// # Errors
    /// Why they cannot have it any more.
    fn taken(
        self: &Arc<Self>,
        info: &PodInfo,
        node: &NodeInfo,
    ) -> Result<Option<bind::Taken>, String> {
        let Some(state) = self.prepare(info)? else {
            return Ok(None);
        };
        let allocated = self.allocate(&state, node).map_err(Reason::into_owned)?;
        Ok(bind::Taken::new(
            self.clone(),
            state,
            node.name(),
            allocated,
        ))
    }

    /// Whether a pod needs devices.
    fn concerns(&self, pod: &PodInfo) -> bool {
        let claims = pod
            .whole()
            .is_some_and(|pod| claim::claims(pod).next().is_some());
        claims || self.extended(pod).is_some()
    }
}

impl State {
    /// Whether devices stand for an extended resource where a node does not have it.
    pub fn stand_for(&self, resource: &str) -> bool {
        let extended = self.extended.as_ref();
        extended.is_some_and(|extended| extended.has(resource))
    }

    /// A claim to be given back because it has devices elsewhere, which nobody else uses (upstream's PostFilter); the claim for
    /// extended resources of an earlier attempt goes first.
    pub fn stale(&self) -> Option<Arc<ResourceClaim>> {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let unavailable = self.unavailable.lock();
        let mut own = unavailable
            .iter()
            .filter(|claim| match claim::reserved(claim) {
                [] => true,
                [only] => only.uid == uid,
                _ => false,
            });
        let left = self
            .extended
            .as_ref()
            .and_then(|extended| extended.left.clone());
        left.or_else(|| own.next().cloned())
    }
}

/// Those that need devices.
fn needing(claims: &[Arc<ResourceClaim>]) -> impl Iterator<Item = &Arc<ResourceClaim>> {
    claims
        .iter()
        .filter(|claim| claim::allocation(claim).is_none())
}

fn uid(claim: &ResourceClaim) -> &str {
    claim.metadata.uid.as_deref().unwrap_or_default()
}

impl Reserve for Arc<DynamicResources> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reserve(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Result<Option<Box<dyn Reservation>>, String> {
        let taken = self.taken(pod, node)?;
        Ok(taken.map(|taken| Box::new(taken) as Box<dyn Reservation>))
    }

    fn wake(&self) {
        self.bell.send_replace(());
    }
}

impl Filter for Arc<DynamicResources> {
    fn name(&self) -> &'static str {
        NAME
    }

    /// A pod is not tried before its claims are there.
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Reason> {
        match pod.whole() {
            Some(pod) => Ok(self.claims_of(pod).map(drop)?),
            None => Ok(()),
        }
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        state: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        match self.prepare(pod)? {
            Some(found) => {
                state.devices = Some(Arc::new(found));
                Ok(PreFilter::All)
            }
            None => Ok(PreFilter::Skip),
        }
    }

    fn filter(&self, _: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        let Some(state) = &state.devices else {
            return Ok(());
        };
        let allocated = self.allocate(state, node);
        allocated.map(drop).map_err(Refusal::unresolvable)
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeLabels,
            Change::NodeAllocatable,
        ]
    }

    fn devices_help(&self, pod: &PodInfo, event: &DeviceEvent<'_>) -> bool {
        let DeviceEvent::Claim { old, new } = event else {
            return self.concerns(pod);
        };
        let had = old.is_some_and(|old| claim::allocation(old).is_some());
        let Some(new) = new else {
            return had && self.concerns(pod);
        };
        // Devices are free, whoever's they were.
        if had && claim::allocation(new).is_none() {
            return self.concerns(pod);
        }
        let Some(whole) = pod.whole() else {
            return false;
        };
        let claims = self.claims_of(whole).unwrap_or_default();
        let uses = claims.iter().any(|claim| uid(claim) == uid(new));
        uses && old.is_none_or(|old| old.status != new.status)
    }
}
