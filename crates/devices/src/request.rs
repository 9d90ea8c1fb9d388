//! Claims as they are allocated from: their requests with classes, and selectors compiled.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceRequest, DeviceSelector, DeviceToleration,
    ResourceClaim,
};

use crate::{
    allocator::Error,
    budget::Budget,
    capacity::parse,
    claim,
    inventory::{Device, Slice},
    selectors::{Selector, Selectors, Silence},
    usage::Amounts,
};

/// How many devices are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Count(usize),
    /// Every one that the node has.
    All,
}

/// A request, or one of its alternatives.
pub(crate) struct Alternative {
    /// The name of the request in the claim.
    pub request: String,
    /// The same, or `request/subrequest`.
    pub name: String,
    pub class: Arc<DeviceClass>,
    pub wanted: Wanted,
    pub admin_access: bool,
    pub tolerations: Option<Vec<DeviceToleration>>,
    pub capacity: Amounts,
    class_selectors: Vec<Arc<Selector>>,
    selectors: Vec<Arc<Selector>>,
}

/// A request.
pub(crate) struct Request {
    pub alternatives: Vec<Alternative>,
    /// The first alternative that can be had is taken.
    pub is_prioritized: bool,
}

/// A claim that needs devices.
pub(crate) struct Wanting {
    pub claim: Arc<ResourceClaim>,
    /// `namespace/name`
    pub name: String,
    pub requests: Vec<Request>,
}

/// What requests and alternatives have in common.
struct Parts<'c> {
    name: String,
    class: &'c str,
    mode: Option<&'c str>,
    count: Option<i64>,
    admin_access: bool,
    selectors: Option<&'c Vec<DeviceSelector>>,
    tolerations: Option<&'c Vec<DeviceToleration>>,
    capacity: Option<&'c CapacityRequirements>,
}

/// What requests are made of, besides what they say.
pub(crate) struct Known<'k> {
    pub classes: &'k Classes<'k>,
    pub selectors: &'k Selectors,
    pub budget: &'k Budget,
}

/// Looks up a class by its name.
pub(crate) type Classes<'c> = dyn Fn(&str) -> Option<Arc<DeviceClass>> + 'c;

impl Wanting {
    /// # Errors
    /// Where a request cannot be understood, or its class is not there; where there is no time to compile its selectors.
    pub fn of(claim: &Arc<ResourceClaim>, known: &Known<'_>) -> Result<Self, Error> {
        let name = claim::full_name(claim);
        let requests = claim.spec.devices.iter();
        let requests = requests.flat_map(|devices| devices.requests.iter().flatten());
        let requests = requests
            .map(|request| read(&name, request, known))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            claim: claim.clone(),
            name,
            requests,
        })
    }
}

fn read(claim: &str, request: &DeviceRequest, known: &Known<'_>) -> Result<Request, Error> {
    let alternatives = request.first_available.iter().flatten().map(|sub| Parts {
        name: format!("{}/{}", request.name, sub.name),
        class: &sub.device_class_name,
        mode: sub.allocation_mode.as_deref(),
        count: sub.count,
        admin_access: false,
        selectors: sub.selectors.as_ref(),
        tolerations: sub.tolerations.as_ref(),
        capacity: sub.capacity.as_ref(),
    });
    let exactly = request.exactly.iter().map(|exact| Parts {
        name: request.name.clone(),
        class: &exact.device_class_name,
        mode: exact.allocation_mode.as_deref(),
        count: exact.count,
        admin_access: exact.admin_access == Some(true),
        selectors: exact.selectors.as_ref(),
        tolerations: exact.tolerations.as_ref(),
        capacity: exact.capacity.as_ref(),
    });
    let parts: Vec<Parts<'_>> = exactly.chain(alternatives).collect();
    if parts.is_empty() {
        return Err(Error::Failed(format!(
            "resource claim {claim}, request {}: unknown request type",
            request.name
        )));
    }
    let alternatives = parts.into_iter();
    let alternatives = alternatives
        .map(|parts| read_parts(claim, &request.name, parts, known))
        .collect::<Result<_, _>>()?;
    Ok(Request {
        alternatives,
        is_prioritized: request.exactly.is_none(),
    })
}

fn read_parts(
    claim: &str,
    request: &str,
    parts: Parts<'_>,
    known: &Known<'_>,
) -> Result<Alternative, Error> {
    let name = &parts.name;
    let Some(class) = (known.classes)(parts.class) else {
        let why = format!(
            "request {name}: device class {} does not exist",
            parts.class
        );
        return Err(Error::Failed(why));
    };
    let wanted = match parts.mode {
        None | Some("" | "ExactCount") => {
            let count = usize::try_from(parts.count.unwrap_or(1)).unwrap_or_default();
            Wanted::Count(count)
        }
        Some("All") => Wanted::All,
        Some(mode) => {
            return Err(Error::Failed(format!(
                "claim {claim}, request {name}: unsupported count mode {mode}"
            )));
        }
    };
    let compile = |all: Option<&Vec<DeviceSelector>>| -> Result<Vec<_>, Error> {
        let all = all.into_iter().flatten();
        all.map(|selector| known.selectors.compile(selector, known.budget))
            .collect()
    };
    let requested = parts
        .capacity
        .and_then(|capacity| capacity.requests.as_ref());
    let requested = requested.into_iter().flatten();
    Ok(Alternative {
        request: request.to_owned(),
        class_selectors: compile(class.spec.selectors.as_ref())?,
        selectors: compile(parts.selectors)?,
        class,
        wanted,
        admin_access: parts.admin_access,
        tolerations: parts.tolerations.cloned(),
        capacity: requested
            .map(|(name, amount)| (name.clone(), parse(amount)))
            .collect(),
        name: parts.name,
    })
}

impl Alternative {
    /// Its selectors and those of its class.
    pub fn all_selectors(&self) -> impl Iterator<Item = &Arc<Selector>> {
        self.class_selectors.iter().chain(&self.selectors)
    }

    /// Whether the selectors of class and request match a device.
    ///
    /// # Errors
    /// Where one cannot be evaluated: it is wrong for all devices, or is for none of them; where there is no time to.
    pub fn selects(
        &self,
        claim: &str,
        slice: &Slice,
        device: &Device,
        budget: &Budget,
    ) -> Result<bool, Error> {
        let class = self.class.metadata.name.as_deref().unwrap_or_default();
        let of_class = self.class_selectors.iter().enumerate();
        let of_request = self.selectors.iter().enumerate();
        let all = of_class.map(|(index, one)| ("class", class, index, one));
        let all = all.chain(of_request.map(|(index, one)| ("claim", claim, index, one)));
        for (kind, name, index, selector) in all {
            let failed =
                |why: String| Error::Failed(format!("{kind} {name}: selector #{index}{why}"));
            match selector.matches(slice, device, budget) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Silence::OutOfTime) => return Err(Error::Timeout),
                Err(Silence::Invalid(why)) => return Err(failed(format!(": {why}"))),
                Err(Silence::Failed(error)) => {
                    let id = &device.id;
                    let hint = hint(&error);
                    let why = format!(" on device {id}: CEL runtime error: {error}{hint}");
                    return Err(failed(why));
                }
            }
        }
        Ok(true)
    }
}

/// Upstream's advice for a selector that names what a device does not have.
fn hint(error: &str) -> &'static str {
    match error.contains("no such key:") {
        true => {
            ". consider using CEL optional chaining (.? followed by orValue()) or guarding the check with has() for optional fields"
        }
        false => "",
    }
}
