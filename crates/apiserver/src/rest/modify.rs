//! POST and PUT of whole objects.

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::Part;
use knarr_auth::{authz, request::RequestInfo};
use knarr_meta::status::Status;
use knarr_registry::{
    managed::{Managed, Manager},
    write::Write,
};

use super::{
    ask::{Ask, WriteOptions},
    decode::{self, Expected},
    shape,
};
use crate::{negotiate::Shapes, respond::Answer};

/// What the write path needs to know of a request.
pub fn write_of<'a>(ask: &'a Ask<'a>, dry_run: bool) -> Write<'a> {
    Write {
        kind: ask.kind(),
        group: ask.served.group(),
        alias: ask.served.alias(),
        options: &(),
        namespace: ask.namespace(),
        subresource: ask.request.info.subresource,
        user: ask.user,
        dry_run,
        warnings: ask.warnings,
        emptied: Some(&ask.emptied),
        annotations: &ask.audit.annotations,
        managed: Managed::Kept,
        siblings: ask.siblings.as_ref(),
    }
}

/// The same for writes whose changes are their manager's.
pub fn managed_write_of<'a>(ask: &'a Ask<'a>, options: &'a WriteOptions) -> Write<'a> {
    Write {
        options,
        managed: Managed::Update(Manager {
            name: &options.manager,
            alias: ask.served.alias(),
            siblings: ask.siblings.as_ref(),
        }),
        ..write_of(ask, options.dry_run)
    }
}

pub async fn create(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::parse(ask.request, "CreateOptions")?;
    let tree = decode::body(ask, &body, &Expected::of(ask), options.validation)?;
    let tree = decode::to_stored(ask, tree);
    let entry = ask
        .core
        .registry
        .create(&managed_write_of(ask, &options), tree)
        .await?;
    shape::object(ask, StatusCode::CREATED, &entry, accepted).await
}

/// Whether who asks for an update may also make the object that is not there.
pub fn may_create(ask: &Ask<'_>) -> Result<(), Status> {
    let create = RequestInfo {
        verb: "create",
        ..ask.request.info.clone()
    };
    authz::check(&*ask.core.authorizer, ask.user, &create)
}

/// PUT of the object or of one of its parts.
pub async fn update(ask: &Ask<'_>, body: Bytes, part: Part) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::parse(ask.request, "UpdateOptions")?;
    let tree = decode::body(ask, &body, &Expected::of(ask), options.validation)?;
    let tree = decode::to_stored(ask, tree);
    let write = managed_write_of(ask, &options);
    let info = &ask.request.info;
    let updated = ask
        .core
        .registry
        .put(&write, info.name, part, tree, || may_create(ask))
        .await?;
    let code = if updated.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    shape::object(ask, code, &updated.entry, accepted).await
}
