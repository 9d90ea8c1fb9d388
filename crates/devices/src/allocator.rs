//! Which devices a pod's claims get on a node.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{AllocationResult, ResourceClaim},
};
use parking_lot::Mutex;

use crate::{
    MAX_CLAIMS, MAX_REQUESTS, MAX_SELECTOR_BYTES, MAX_SELECTORS,
    budget::Budget,
    inventory::{Device, Inventory, Slice},
    request::{Alternative, Classes, Known, Wanting},
    result,
    search::Search,
    selectors::Selectors,
    usage::Usage,
};

/// Why there is no allocation, besides that there are no devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A claim, a class or a pool is not as it should be.
    #[error("{0}")]
    Failed(String),
    #[error("invalid resource pools were encountered")]
    InvalidPools,
    /// The search is longer than it may be.
    #[error("timed out trying to allocate devices")]
    Timeout,
}

/// A device and an alternative of a request: slice, device, claim, request, alternative.
type Pair = [usize; 5];

/// The claims of a pod that need devices, and all devices. It may be asked for one node after the other: what does not depend on
/// the node is found out once.
pub struct Allocator {
    inventory: Arc<Inventory>,
    usage: Arc<Usage>,
    wanting: Vec<Wanting>,
    selected: Mutex<HashMap<Pair, bool>>,
}

/// Where an alternative is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Which {
    pub claim: usize,
    pub request: usize,
    pub alternative: usize,
}

/// Whether a pod wants no more than can be looked for.
pub(crate) fn within(what: &str, count: usize, most: usize) -> Result<(), Error> {
    match count <= most {
        true => Ok(()),
        false => Err(Error::Failed(format!(
            "the pod needs {count} {what} allocated, of which {most} can be at once"
        ))),
    }
}

impl Allocator {
    /// # Errors
    /// Where a request cannot be understood, or its class is not there; where that takes longer than `budget`.
    pub fn new(
        inventory: Arc<Inventory>,
        usage: Arc<Usage>,
        claims: &[Arc<ResourceClaim>],
        classes: &Classes<'_>,
        selectors: &Selectors,
        budget: &Budget,
    ) -> Result<Self, Error> {
        within("claims", claims.len(), MAX_CLAIMS)?;
        let known = Known {
            classes,
            selectors,
            budget,
        };
        let mut wanting = Vec::with_capacity(claims.len());
        let mut requests = 0usize;
        let mut seen = HashSet::new();
        let mut bytes = 0usize;
        for claim in claims {
            let claim = Wanting::of(claim, &known)?;
            requests = requests.saturating_add(claim.requests.len());
            let alternatives = claim.requests.iter().flat_map(|one| &one.alternatives);
            for selector in alternatives.flat_map(Alternative::all_selectors) {
                if seen.insert(selector.id()) {
                    bytes = bytes.saturating_add(selector.length);
                }
            }
            within("requests", requests, MAX_REQUESTS)?;
            within("different selectors", seen.len(), MAX_SELECTORS)?;
            within("bytes of different selectors", bytes, MAX_SELECTOR_BYTES)?;
            wanting.push(claim);
        }
        Ok(Self {
            inventory,
            usage,
            wanting,
            selected: Mutex::default(),
        })
    }

    /// An allocation for each claim, in their order; `None` where not all can have one on the node.
    ///
    /// The first devices that are found are taken: in the order of pools and slices by name, and of devices in their slices.
    ///
    /// # Errors
    /// Where a claim, a class or a pool is not as it should be; where the search is longer than `budget`.
    pub fn allocate(
        &self,
        node: &Node,
        budget: &mut Budget,
    ) -> Result<Option<Vec<AllocationResult>>, Error> {
        let mut search = Search::new(self, node, budget)?;
        match search.run()? {
            true => Ok(Some(result::of(self, &search, node)?)),
            false if search.has_invalid_pools() => Err(Error::InvalidPools),
            false => Ok(None),
        }
    }

    pub(crate) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn wanting(&self) -> &[Wanting] {
        &self.wanting
    }

    pub(crate) fn alternative(&self, which: Which) -> &Alternative {
        &self.wanting[which.claim].requests[which.request].alternatives[which.alternative]
    }

    /// Whether selectors match, asked once for a device.
    pub(crate) fn selects(
        &self,
        which: Which,
        slice: &Slice,
        device: &Device,
        budget: &Budget,
    ) -> Result<bool, Error> {
        let pair = [
            slice.place,
            device.place,
            which.claim,
            which.request,
            which.alternative,
        ];
        if let Some(selected) = self.selected.lock().get(&pair) {
            return Ok(*selected);
        }
        let claim = &self.wanting[which.claim].name;
        let alternative = self.alternative(which);
        let selected = alternative.selects(claim, slice, device, budget)?;
        self.selected.lock().insert(pair, selected);
        Ok(selected)
    }
}
