//! GET of one object.

use http::StatusCode;
use knarr_meta::status::{Reason, Status};
use knarr_registry::object_key;

use super::{ask::Ask, shape};
use crate::{negotiate::Shapes, respond::Answer};

/// Answers a GET of an object (or its status: the same object).
pub async fn get(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let cache = &ask.core.registry.cache;
    match resource_version(ask.request.query.get("resourceVersion"))? {
        None => cache.fresh().await?,
        Some(revision) => cache.at_least(revision).await?,
    }
    let key = object_key(ask.kind(), ask.namespace(), ask.request.info.name);
    let entry = cache
        .of(ask.kind())?
        .find(&key)?
        .ok_or_else(|| Status::not_found(ask.group_resource(), ask.request.info.name))?;
    shape::object(ask, StatusCode::OK, &entry, accepted).await
}

/// `None`: the newest. 0: any.
pub fn resource_version(text: &str) -> Result<Option<u64>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            // Upstream gives it no reason.
            let why = format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            );
            Status::new(500, Reason::Unknown, why)
        }),
    }
}
