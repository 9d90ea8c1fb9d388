//! What was found, as it is written into the claims.

use k8s_openapi::{
    api::{
        core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
        resource::v1::{
            AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult,
            DeviceRequestAllocationResult,
        },
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use crate::{
    allocator::{Allocator, Error, Which},
    request::{Alternative, Wanting},
    search::{Pick, Search},
};

/// An allocation a claim.
pub(crate) fn of(
    allocator: &Allocator,
    search: &Search<'_>,
    node: &Node,
) -> Result<Vec<AllocationResult>, Error> {
    let claims = allocator.wanting().iter().zip(&search.picks).enumerate();
    claims
        .map(|(claim, (wanting, picks))| {
            let chosen: Vec<&Alternative> = (0..wanting.requests.len())
                .map(|request| {
                    let alternative = search.taken.get(&(claim, request)).copied();
                    allocator.alternative(Which {
                        claim,
                        request,
                        alternative: alternative.unwrap_or_default(),
                    })
                })
                .collect();
            let results = picks.iter().map(|pick| result(allocator, pick));
            let config = configuration(wanting, &chosen);
            Ok(AllocationResult {
                allocation_timestamp: None,
                devices: Some(DeviceAllocationResult {
                    config: (!config.is_empty()).then_some(config),
                    results: Some(results.collect()),
                }),
                node_selector: node_selector(&wanting.name, picks, node)?,
            })
        })
        .collect()
}

fn result(allocator: &Allocator, pick: &Pick<'_>) -> DeviceRequestAllocationResult {
    let alternative = allocator.alternative(pick.which);
    let candidate = &pick.candidate;
    let id = &candidate.device.id;
    let api = candidate.slice.api(candidate.device);
    let consumed = pick.share.iter().flatten();
    let consumed: std::collections::BTreeMap<_, _> = consumed
        .map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string())))
        .collect();
    DeviceRequestAllocationResult {
        admin_access: alternative.admin_access.then_some(true),
        binding_conditions: api.and_then(|device| device.binding_conditions.clone()),
        binding_failure_conditions: api
            .and_then(|device| device.binding_failure_conditions.clone()),
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        device: id.device.clone(),
        driver: id.driver.clone(),
        pool: id.pool.clone(),
        request: alternative.name.clone(),
        share_id: pick
            .share
            .as_ref()
            .map(|_| uuid::Uuid::new_v4().to_string()),
        tolerations: alternative.tolerations.clone(),
    }
}

/// What drivers are told: what classes say, each class once, then what the claim says of the requests that were taken.
fn configuration(wanting: &Wanting, chosen: &[&Alternative]) -> Vec<DeviceAllocationConfiguration> {
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut classes: Vec<&str> = Vec::new();
    for alternative in chosen {
        let class = alternative
            .class
            .metadata
            .name
            .as_deref()
            .unwrap_or_default();
        if classes.contains(&class) {
            continue;
        }
        classes.push(class);
        let same = chosen
            .iter()
            .filter(|other| other.class.metadata.name.as_deref() == Some(class));
        let requests: Vec<String> = same.map(|other| other.name.clone()).collect();
        for config in alternative.class.spec.config.iter().flatten() {
            all.push(DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: Some(requests.clone()),
                source: "FromClass".to_owned(),
            });
        }
    }
    let is_for = |requests: &[String], one: &Alternative| {
        requests.contains(&one.request) || requests.contains(&one.name)
    };
    let devices = wanting.claim.spec.devices.iter();
    for config in devices.flat_map(|devices| devices.config.iter().flatten()) {
        let requests = config.requests.as_deref().unwrap_or_default();
        if requests.is_empty() || chosen.iter().any(|one| is_for(requests, one)) {
            all.push(DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: config.requests.clone(),
                source: "FromClaim".to_owned(),
            });
        }
    }
    // None means all.
    for config in &mut all {
        let requests = config.requests.as_deref().unwrap_or_default();
        if chosen.iter().all(|one| is_for(requests, one)) {
            config.requests = None;
        }
    }
    all
}

/// The nodes that can use the devices; `None`: all of them.
fn node_selector(
    claim: &str,
    picks: &[Pick<'_>],
    node: &Node,
) -> Result<Option<NodeSelector>, Error> {
    let mut term = NodeSelectorTerm::default();
    for pick in picks {
        let slice = pick.candidate.slice;
        let device = slice.api(pick.candidate.device);
        let (name, selector) = match slice.is_per_device() {
            true => (
                device.and_then(|device| device.node_name.as_ref()),
                device.and_then(|device| device.node_selector.as_ref()),
            ),
            false => (
                slice.object.spec.node_name.as_ref(),
                slice.object.spec.node_selector.as_ref(),
            ),
        };
        if name.is_some() || device.is_some_and(|device| device.binds_to_node == Some(true)) {
            return Ok(Some(only(node)));
        }
        let terms = selector.map(|selector| selector.node_selector_terms.as_slice());
        match terms.unwrap_or_default() {
            [] => {}
            [one] => {
                merge(&mut term.match_fields, one.match_fields.as_ref());
                merge(&mut term.match_expressions, one.match_expressions.as_ref());
            }
            more => {
                return Err(Error::Failed(format!(
                    "create NodeSelector for claim {claim}: unsupported ResourceSlice.NodeSelector with {} terms",
                    more.len()
                )));
            }
        }
    }
    let says_something = term.match_fields.is_some() || term.match_expressions.is_some();
    Ok(says_something.then(|| NodeSelector {
        node_selector_terms: vec![term],
    }))
}

fn only(node: &Node) -> NodeSelector {
    NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_expressions: None,
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.metadata.name.clone().unwrap_or_default()]),
            }]),
        }],
    }
}

fn merge(
    into: &mut Option<Vec<NodeSelectorRequirement>>,
    from: Option<&Vec<NodeSelectorRequirement>>,
) {
    for requirement in from.into_iter().flatten() {
        let into = into.get_or_insert_default();
        if !into.contains(requirement) {
            into.push(requirement.clone());
        }
    }
}
