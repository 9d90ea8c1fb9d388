//! What of a pod's resources it is to have for itself.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_numa::{Demand, Role};

use crate::{
    context,
    resources::{self, Qos},
    worker::plan,
};

/// The containers in the order in which they start. Only guaranteed pods have anything for themselves, and none whose resources are
/// stated for the whole pod.
pub(super) fn of(pod: &Pod) -> knarr_numa::Pod {
    let spec = pod.spec.as_ref();
    let whole = spec.and_then(|spec| spec.resources.as_ref());
    let stated = whole.is_some_and(|whole| whole.requests.is_some() || whole.limits.is_some());
    let exclusive = resources::qos(pod) == Qos::Guaranteed && !stated;
    let demand = |container: &Container, role: Role| Demand {
        name: container.name.clone(),
        role,
        cpus: if exclusive { cpus(container) } else { 0 },
        memory: if exclusive {
            memory(container)
        } else {
            BTreeMap::new()
        },
    };
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let init = init.map(|container| match plan::is_sidecar(container) {
        true => demand(container, Role::Sidecar),
        false => demand(container, Role::Init),
    });
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    knarr_numa::Pod {
        uid: context::uid(pod).to_owned(),
        containers: init
            .chain(main.map(|one| demand(one, Role::Main)))
            .collect(),
    }
}

/// Requests; limits where a pod that no API server has seen states those alone.
fn requests(container: &Container) -> BTreeMap<&String, &Quantity> {
    let own = container.resources.as_ref();
    let limits = own
        .and_then(|own| own.limits.as_ref())
        .into_iter()
        .flatten();
    let requests = own
        .and_then(|own| own.requests.as_ref())
        .into_iter()
        .flatten();
    limits.chain(requests).collect()
}

/// Whole CPUs; parts of one are shared.
fn cpus(container: &Container) -> usize {
    let asked = requests(container)
        .get(&"cpu".to_owned())
        .copied()
        .and_then(resources::parse);
    let milli = asked.map_or(0, |asked| asked.milli_value());
    match milli % 1_000 {
        0 => usize::try_from(milli / 1_000).unwrap_or(0),
        _ => 0,
    }
}

fn memory(container: &Container) -> BTreeMap<String, u64> {
    let asked = requests(container).into_iter();
    let asked = asked.filter(|(name, _)| *name == "memory" || name.starts_with("hugepages-"));
    let bytes = asked.filter_map(|(name, quantity)| {
        let bytes = resources::parse(quantity)?.value();
        Some((name.clone(), u64::try_from(bytes).ok()?))
    });
    bytes.collect()
}
