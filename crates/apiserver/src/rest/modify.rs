//! POST and PUT of whole objects.

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::Part;

use super::{
    ask::{Ask, WriteOptions},
    decode::{self, Expected},
    shape,
};
use crate::{authz, negotiate::Shapes, request::RequestInfo, respond::Answer, write::Write};

/// What the write path needs to know of a request.
pub fn write_of<'a>(ask: &Ask<'a>, dry_run: bool) -> Write<'a> {
    Write {
        kind: ask.kind(),
        group: ask.served.group(),
        namespace: ask.namespace(),
        subresource: ask.request.info.subresource,
        user: ask.user,
        dry_run,
        warnings: ask.warnings,
    }
}

pub async fn create(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::parse(ask.request.query, "CreateOptions")?;
    let tree = decode::body(ask, &body, &Expected::of(ask), options.validation)?;
    let tree = decode::to_stored(ask, tree);
    let entry = ask
        .core
        .create(&write_of(ask, options.dry_run), tree)
        .await?;
    shape::object(ask, StatusCode::CREATED, &entry, accepted)
}

/// PUT of the object or of one of its parts.
pub async fn update(ask: &Ask<'_>, body: Bytes, part: Part) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::parse(ask.request.query, "UpdateOptions")?;
    let tree = decode::body(ask, &body, &Expected::of(ask), options.validation)?;
    let tree = decode::to_stored(ask, tree);
    let write = write_of(ask, options.dry_run);
    let info = &ask.request.info;
    let may_create = || {
        let create = RequestInfo {
            verb: "create",
            ..info.clone()
        };
        authz::check(&*ask.core.authorizer, ask.user, &create)
    };
    let updated = ask
        .core
        .put(&write, info.name, part, tree, may_create)
        .await?;
    let code = if updated.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    shape::object(ask, code, &updated.entry, accepted)
}
