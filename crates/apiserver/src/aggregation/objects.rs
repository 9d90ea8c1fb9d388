//! APIServices as they are stored.

use knarr_admission::writer::Writer;
use knarr_api::{
    Kind,
    apiregistration::{
        GROUP,
        api_service::{self, Availability},
    },
    kind::Part,
};
use knarr_meta::{object, status::Status};
use knarr_registry::Registry;
use serde_json::Value;

use super::routes::{Route, Way};

/// The resource.
pub const RESOURCE: &str = "apiservices";

/// The kind of APIServices.
pub fn kind() -> Result<&'static Kind, Status> {
    let kind = knarr_api::built_in(GROUP, "v1", RESOURCE);
    kind.map(|kind| &**kind)
        .ok_or_else(|| Status::internal("APIServices have no kind"))
}

/// Writes what is known of a server, where its APIService still leads to it.
pub async fn write_availability(
    registry: &Registry,
    route: &Route,
    wanted: &Availability,
) -> Result<(), Status> {
    let kind = kind()?;
    let leads_there = |object: &Value| {
        object::deletion_timestamp(object).is_none()
            && Way::of(object).is_some_and(|way| way == route.way)
    };
    let found = registry.cache.of(kind)?.get(&route.name);
    let Some(mut known) = found.map(|entry| entry.tree()) else {
        return Ok(());
    };
    if !leads_there(&known) || !api_service::set_availability(&mut known, wanted) {
        return Ok(());
    }
    let change = |object: &mut Value| {
        Ok(leads_there(object) && api_service::set_availability(object, wanted))
    };
    match Writer::update(registry, kind, "", &route.name, Part::Status, &change).await {
        Err(status) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}
