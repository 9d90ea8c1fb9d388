//! The `/scale` subresource: autoscaling/v1 Scale over any kind whose strategy has replicas.

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::Part;
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    object,
    status::Status,
};
use serde_json::{Value, json};

use super::{
    ask::{Ask, WriteOptions, object_key},
    decode::{self, Expected},
    modify::write_of,
    patch::{Patch, report},
    read::resource_version,
};
use crate::{
    cache::entry::Entry,
    negotiate::Shapes,
    respond::{self, Answer},
};

const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

fn expected() -> Expected<'static> {
    Expected {
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        definition: DEFINITION,
    }
}

pub async fn get(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::None)?;
    let cache = &ask.core.cache;
    match resource_version(ask.request.query.get("resourceVersion"))? {
        None => cache.fresh().await?,
        Some(revision) => cache.at_least(revision).await?,
    }
    let key = object_key(ask.kind(), ask.namespace(), ask.request.info.name);
    let entry = cache
        .of(ask.kind())?
        .find(&key)?
        .ok_or_else(|| Status::not_found(ask.group_resource(), ask.request.info.name))?;
    Ok(respond::tree(
        StatusCode::OK,
        &view(ask, &entry.tree())?,
        accepted,
    ))
}

pub async fn update(ask: &Ask<'_>, body: Bytes) -> Answer {
    let options = WriteOptions::parse(ask.request.query, "UpdateOptions")?;
    let wanted = decode::body(ask, &body, &expected(), options.validation)?;
    let mut compute = |current: &Value| {
        check_preconditions(ask, &wanted, current)?;
        set_replicas(ask, current, &wanted)
    };
    run(ask, options, &mut compute).await
}

pub async fn patch(ask: &Ask<'_>, body: Bytes) -> Answer {
    let options = WriteOptions::parse(ask.request.query, "PatchOptions")?;
    let patch = Patch::parse(ask.request.headers.content_type, body)?;
    let mut compute = |current: &Value| {
        let mut wanted = patch.apply(&view(ask, current)?, DEFINITION)?;
        let problems = decode::conform(&mut wanted, &expected())?;
        report(ask, options.validation, &patch, problems)?;
        check_preconditions(ask, &wanted, current)?;
        set_replicas(ask, current, &wanted)
    };
    run(ask, options, &mut compute).await
}

async fn run(
    ask: &Ask<'_>,
    options: WriteOptions,
    compute: &mut crate::write::update::Compute<'_>,
) -> Answer {
    let accepted = ask.accepted(Shapes::None)?;
    let write = write_of(ask, options.dry_run);
    let updated = ask
        .core
        .update(
            &write,
            ask.request.info.name,
            Part::Subresource("scale"),
            compute,
        )
        .await?;
    let entry: &Entry = &updated.entry;
    Ok(respond::tree(
        StatusCode::OK,
        &view(ask, &entry.tree())?,
        accepted,
    ))
}

/// The Scale of an object.
fn view(ask: &Ask<'_>, tree: &Value) -> Result<Value, Status> {
    let (wanted, actual, selector) = ask
        .kind()
        .strategy
        .scale(tree)
        .ok_or_else(Status::path_not_found)?;
    let mut meta = json!({
        "name": object::name(tree),
        "uid": object::uid(tree),
        "resourceVersion": object::resource_version(tree),
        "creationTimestamp": object::creation_timestamp(tree),
    });
    if !object::namespace(tree).is_empty() {
        meta["namespace"] = json!(object::namespace(tree));
    }
    let mut status = json!({"replicas": actual});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": wanted},
        "status": status,
    }))
}

fn check_preconditions(ask: &Ask<'_>, wanted: &Value, current: &Value) -> Result<(), Status> {
    let version = object::resource_version(wanted);
    if !version.is_empty() && version != object::resource_version(current) {
        return Err(Status::modified(
            ask.group_resource(),
            ask.request.info.name,
        ));
    }
    let name = object::name(wanted);
    if !name.is_empty() && name != ask.request.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            ask.request.info.name
        )));
    }
    Ok(())
}

fn set_replicas(ask: &Ask<'_>, current: &Value, wanted: &Value) -> Result<Value, Status> {
    let replicas = object::i64_at(wanted, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(
            GroupKind::new("autoscaling", "Scale"),
            ask.request.info.name,
            vec![error],
        ));
    }
    let mut tree = current.clone();
    ask.kind().strategy.set_scale(&mut tree, replicas)?;
    Ok(tree)
}
