//! Extended resources that devices stand for: a container that asks for `example.com/gpu: 2` gets two devices of the class that has
//! this name, by a claim that the scheduler makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Container, ContainerExtendedResourceRequest, Pod},
    resource::v1::{DeviceClass, DeviceRequest, ExactDeviceRequest},
};
use knarr_meta::Quantity;

/// Every class has an extended resource of this prefix and its name.
const CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// Classes by the extended resources that they stand for. Of two that claim a name the newer has it, then the first by name.
#[derive(Debug, Default)]
pub struct ClassNames(BTreeMap<String, Arc<DeviceClass>>);

impl ClassNames {
    pub fn new(classes: impl IntoIterator<Item = Arc<DeviceClass>>) -> Self {
        let mut names: BTreeMap<String, Arc<DeviceClass>> = BTreeMap::new();
        for class in classes {
            let name = class.metadata.name.clone().unwrap_or_default();
            if let Some(explicit) = class.spec.extended_resource_name.clone() {
                let known = names.get(&explicit);
                if known.is_none_or(|known| goes_before(&class, known)) {
                    names.insert(explicit, class.clone());
                }
            }
            names.insert(format!("{CLASS_PREFIX}{name}"), class);
        }
        Self(names)
    }

    /// The class that stands for a resource.
    pub fn class(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        self.0.get(resource)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn goes_before(a: &DeviceClass, b: &DeviceClass) -> bool {
    let at = |class: &DeviceClass| class.metadata.creation_timestamp.as_ref().map(|at| at.0);
    (at(a), &b.metadata.name) > (at(b), &a.metadata.name)
}

/// What a claim for extended resources asks for, and which container each request is for.
#[derive(Debug, Default, PartialEq)]
pub struct Requests {
    pub requests: Vec<DeviceRequest>,
    pub mappings: Vec<ContainerExtendedResourceRequest>,
}

/// A container, with its place among init containers and containers.
struct Place<'p> {
    index: usize,
    container: &'p Container,
}

fn count(container: &Container, resource: &str) -> i64 {
    let requests = container
        .resources
        .as_ref()
        .and_then(|all| all.requests.as_ref());
    let quantity = requests.and_then(|all| all.get(resource));
    let quantity = quantity.and_then(|quantity| Quantity::parse(&quantity.0).ok());
    quantity
        .filter(Quantity::is_integer)
        .map_or(0, |quantity| quantity.value())
}

/// The name of a container's request for a resource: by the places of both, resources sorted by name.
fn request_name(place: &Place<'_>, resource: &str) -> String {
    let requests = place
        .container
        .resources
        .as_ref()
        .and_then(|all| all.requests.as_ref());
    let mut names = requests.into_iter().flat_map(BTreeMap::keys);
    let number = names.position(|name| name == resource).unwrap_or_default();
    format!("container-{}-request-{number}", place.index)
}

fn request(name: String, class: &DeviceClass, count: i64) -> DeviceRequest {
    DeviceRequest {
        name,
        exactly: Some(ExactDeviceRequest {
            device_class_name: class.metadata.name.clone().unwrap_or_default(),
            allocation_mode: Some("ExactCount".to_owned()),
            count: Some(count),
            ..ExactDeviceRequest::default()
        }),
        first_available: None,
    }
}

fn exact_count(request: &DeviceRequest) -> i64 {
    let exactly = request.exactly.as_ref();
    exactly.and_then(|exact| exact.count).unwrap_or_default()
}

/// The requests of a pod's containers for `resources` (upstream `createRequestsAndMappings`). An init container that ends uses
/// the devices of those that come after it, and shares what it needs besides with the other init containers.
pub fn requests(pod: &Pod, resources: &BTreeSet<String>, classes: &ClassNames) -> Requests {
    let spec = pod.spec.as_ref();
    let init = spec
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default();
    let main = spec
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let places: Vec<Place<'_>> = init
        .iter()
        .chain(main)
        .enumerate()
        .map(|(index, container)| Place { index, container })
        .collect();
    let mut found = Requests::default();
    for resource in resources {
        if let Some(class) = classes.class(resource) {
            add(&mut found, &places, init.len(), resource, class);
        }
    }
    found.requests.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn add(
    found: &mut Requests,
    places: &[Place<'_>],
    init: usize,
    resource: &str,
    class: &DeviceClass,
) {
    let ends = |place: &&Place<'_>| {
        let restarts = place.container.restart_policy.as_deref() == Some("Always");
        place.index < init && !restarts
    };
    let mapping = |container: &Container, request: &str| ContainerExtendedResourceRequest {
        container_name: container.name.clone(),
        request_name: request.to_owned(),
        resource_name: resource.to_owned(),
    };
    let mut lasting: Vec<(usize, DeviceRequest)> = Vec::new();
    for place in places.iter().filter(|place| !ends(place)) {
        let count = count(place.container, resource);
        if count > 0 {
            let name = request_name(place, resource);
            found.mappings.push(mapping(place.container, &name));
            lasting.push((place.index, request(name, class, count)));
        }
    }
    let mut most: Option<DeviceRequest> = None;
    let mut own: Vec<usize> = Vec::new();
    for place in places.iter().filter(ends) {
        let mut missing = count(place.container, resource);
        for (_, later) in lasting.iter().filter(|(index, _)| *index >= place.index) {
            if missing <= 0 {
                break;
            }
            found.mappings.push(mapping(place.container, &later.name));
            missing = missing.saturating_sub(exact_count(later));
        }
        if missing > 0 {
            let name = request_name(place, resource);
            own.push(found.mappings.len());
            found.mappings.push(mapping(place.container, &name));
            if most.as_ref().is_none_or(|most| exact_count(most) < missing) {
                most = Some(request(name, class, missing));
            }
        }
    }
    // They run one after the other: all use the devices of the one that needs the most.
    if let Some(most) = most {
        for index in own {
            found.mappings[index].request_name.clone_from(&most.name);
        }
        found.requests.push(most);
    }
    found
        .requests
        .extend(lasting.into_iter().map(|(_, request)| request));
}

#[cfg(test)]
mod tests;
