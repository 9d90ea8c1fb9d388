//! What a pod asks for as a whole: upstream's `PodRequests` and `PodLimits` (`resource/helpers.go` of its component helpers).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use knarr_meta::quantity::Quantity;

use super::{Amounts, ApiQuantity, parse};

/// Amounts by the name of the resource.
pub(crate) type Totals = BTreeMap<String, Quantity>;

/// Whether what running the pod takes beside its containers (`spec.overhead`) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overhead {
    Counts,
    IsLeftOut,
}

/// What is requested, of all resources. What is limited alone is requested so, as by the API's defaults.
pub(crate) fn requests(pod: &Pod, overhead: Overhead) -> Totals {
    let mut totals = total(pod, |resources| {
        let mut own = read(resources.limits.as_ref());
        own.extend(read(resources.requests.as_ref()));
        own
    });
    if let (Overhead::Counts, Some(more)) = (overhead, overhead_of(pod)) {
        add(&mut totals, &more);
    }
    totals
}

/// The limits, of all resources. One that not every container has is the sum of those that are.
pub(crate) fn limits(pod: &Pod, overhead: Overhead) -> Totals {
    let mut totals = total(pod, |resources| read(resources.limits.as_ref()));
    if let (Overhead::Counts, Some(mut more)) = (overhead, overhead_of(pod)) {
        more.retain(|name, _| totals.get(name).is_some_and(|limit| !limit.is_zero()));
        add(&mut totals, &more);
    }
    totals
}

/// As the API has them; `None` where there are none.
pub(crate) fn told(totals: &Totals) -> Option<Amounts> {
    let told =
        |(name, amount): (&String, &Quantity)| (name.clone(), ApiQuantity(amount.to_string()));
    (!totals.is_empty()).then(|| totals.iter().map(told).collect())
}

/// Amounts of the API; without what validation should have refused.
pub(crate) fn read(amounts: Option<&Amounts>) -> Totals {
    let amounts = amounts.into_iter().flatten();
    let read = amounts.filter_map(|(name, amount)| Some((name.clone(), parse(amount)?)));
    read.collect()
}

fn overhead_of(pod: &Pod) -> Option<Totals> {
    let overhead = pod.spec.as_ref()?.overhead.as_ref();
    overhead.map(|overhead| read(Some(overhead)))
}

/// Main containers run at the same time with all sidecars, an init container with the sidecars before it. What is stated for the pod
/// takes their place, as far as it may be stated for pods.
fn total(pod: &Pod, of: impl Fn(&ResourceRequirements) -> Totals) -> Totals {
    let Some(spec) = &pod.spec else {
        return Totals::new();
    };
    let own = |container: &Container| container.resources.as_ref().map(&of).unwrap_or_default();
    let mut totals = Totals::new();
    for container in &spec.containers {
        add(&mut totals, &own(container));
    }
    let (mut sidecars, mut peak) = (Totals::new(), Totals::new());
    for container in spec.init_containers.iter().flatten() {
        let mut takes = own(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut totals, &takes);
            add(&mut sidecars, &takes);
            takes = sidecars.clone();
        } else {
            add(&mut takes, &sidecars);
        }
        raise(&mut peak, &takes);
    }
    raise(&mut totals, &peak);
    let stated = spec.resources.as_ref().map(&of).unwrap_or_default();
    totals.extend(stated.into_iter().filter(|(name, _)| is_of_pods(name)));
    totals
}

/// Whether the resource can be stated for a pod as a whole.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

#[expect(clippy::arithmetic_side_effects, reason = "quantities saturate")]
fn add(totals: &mut Totals, more: &Totals) {
    for (name, amount) in more {
        match totals.get_mut(name) {
            Some(total) => *total += *amount,
            None => drop(totals.insert(name.clone(), *amount)),
        }
    }
}

fn raise(totals: &mut Totals, least: &Totals) {
    for (name, amount) in least {
        let total = totals.entry(name.clone()).or_insert(*amount);
        *total = (*total).max(*amount);
    }
}

#[cfg(test)]
mod tests;
