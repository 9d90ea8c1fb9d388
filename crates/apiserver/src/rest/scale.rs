//! The `/scale` subresource: autoscaling/v1 Scale over any kind whose strategy has replicas.

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::{Part, UNSET_REPLICAS};
use knarr_apply::Applier;
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    object,
    status::Status,
};
use knarr_registry::{
    cache::entry::Entry,
    managed::{self, Managed, scale::DEFINITION},
    object_key,
    write::Write,
};
use serde_json::Value;

use super::{
    apply::configuration,
    ask::{Ask, WriteOptions},
    decode::{self, Expected},
    modify::write_of,
    patch::{Patch, duplicates, is_apply, report},
    read::resource_version,
    shape::{self, IncludeObject},
};
use crate::{
    negotiate::{Accepted, Shape, Shapes},
    respond::{self, Answer},
};

fn expected() -> Expected<'static> {
    Expected {
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        definition: DEFINITION,
        strategy: None,
        emptied: None,
    }
}

/// A Table, or a Scale as it is.
fn accepted(ask: &Ask<'_>) -> Result<Accepted, Status> {
    match ask.accepted(Shapes::Object) {
        Ok(accepted) if matches!(accepted.shape, Shape::Table(_)) => Ok(accepted),
        // One of a custom resource has a message in protobuf, which the resource itself has not.
        _ => ask.accepted(Shapes::None),
    }
}

fn answer(ask: &Ask<'_>, scale: &Value, accepted: Accepted) -> Answer {
    if let Shape::Table(version) = accepted.shape {
        let include = IncludeObject::parse(ask.request.query.get("includeObject"))?;
        let is_custom = !ask.kind().is_built_in();
        let table = shape::scale_table(scale, is_custom, version, include);
        return Ok(respond::tree(StatusCode::OK, &table, accepted));
    }
    Ok(respond::tree(StatusCode::OK, scale, accepted))
}

pub async fn get(ask: &Ask<'_>) -> Answer {
    let accepted = accepted(ask)?;
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
    let tree = ask
        .core
        .registry
        .in_version(ask.kind(), entry.tree())
        .await?;
    let scale = view(ask, &tree)?;
    if is_unset(&scale) {
        let field = replicas_field(ask);
        return Err(Status::internal(format!(
            "the spec replicas field {field:?} does not exist"
        )));
    }
    answer(ask, &scale, accepted)
}

/// Whether the object says nothing of its replicas: it has no Scale to show, and gets one by an update that says how many.
fn is_unset(scale: &Value) -> bool {
    object::i64_at(scale, &["spec", "replicas"]) == Some(UNSET_REPLICAS)
}

/// As a definition writes the path.
fn replicas_field(ask: &Ask<'_>) -> String {
    let names = ask.kind().strategy.replicas_path();
    format!(".{}", names.join("."))
}

pub async fn update(ask: &Ask<'_>, body: Bytes) -> Answer {
    let options = WriteOptions::parse(ask.request, "UpdateOptions")?;
    let wanted = decode::body(ask, &body, &expected(), options.validation)?;
    let mut compute = |current: &Value| {
        let mut wanted = wanted.clone();
        let live = managed_view(ask, current)?;
        check_preconditions(ask, &wanted, current)?;
        managed::scale::update(&live, &mut wanted, &options.manager);
        set_replicas(ask, current, wanted)
    };
    run(ask, &options, &mut compute).await
}

pub async fn patch(ask: &Ask<'_>, body: Bytes) -> Answer {
    if is_apply(ask) {
        return apply(ask, body).await;
    }
    let options = WriteOptions::of_patch(ask.request, false)?;
    let twice = duplicates(ask, &body, options.validation);
    let patch = Patch::of(ask, body)?;
    ask.audit.request_patch(|| patch.tree());
    let mut compute = |current: &Value| {
        let live = managed_view(ask, current)?;
        let (mut wanted, of_patch) = patch.apply(&live, DEFINITION)?;
        let mut problems = [twice.clone(), of_patch].concat();
        let conformed = decode::conform(&mut wanted, &expected());
        problems.extend(conformed.map_err(|why| patch.undecodable(&why, &live, DEFINITION))?);
        let shown = || patch.shown(&live, DEFINITION);
        report(ask, options.validation, problems, shown)?;
        check_preconditions(ask, &wanted, current)?;
        managed::scale::update(&live, &mut wanted, &options.manager);
        set_replicas(ask, current, wanted)
    };
    run(ask, &options, &mut compute).await
}

async fn apply(ask: &Ask<'_>, body: Bytes) -> Answer {
    let options = WriteOptions::of_patch(ask.request, true)?;
    let config = configuration(ask, &body, options.validation)?;
    let by = Applier {
        manager: &options.manager,
        force: options.force,
    };
    let mut compute = |current: &Value| {
        let live = managed_view(ask, current)?;
        let mut wanted = managed::scale::apply(&live, &config.tree, by)?;
        decode::conform(&mut wanted, &expected())?;
        config.check_keys()?;
        check_preconditions(ask, &wanted, current)?;
        set_replicas(ask, current, wanted)
    };
    run(ask, &options, &mut compute).await
}

async fn run(
    ask: &Ask<'_>,
    options: &WriteOptions,
    compute: &mut knarr_registry::write::update::Compute<'_>,
) -> Answer {
    let accepted = accepted(ask)?;
    let write = Write {
        options,
        managed: Managed::Given,
        ..write_of(ask, options.dry_run)
    };
    let updated = ask
        .core
        .registry
        .update(
            &write,
            ask.request.info.name,
            Part::Subresource("scale"),
            compute,
        )
        .await?;
    let entry: &Entry = &updated.entry;
    let tree = ask
        .core
        .registry
        .in_version(ask.kind(), entry.tree())
        .await?;
    answer(ask, &view(ask, &tree)?, accepted)
}

/// The Scale of an object, with whose its fields are.
fn managed_view(ask: &Ask<'_>, tree: &Value) -> Result<Value, Status> {
    let mut view = view(ask, tree)?;
    managed::scale::show(ask.kind(), tree, &mut view)?;
    Ok(view)
}

/// The Scale of an object.
fn view(ask: &Ask<'_>, tree: &Value) -> Result<Value, Status> {
    managed::scale::view(ask.kind(), tree).ok_or_else(Status::path_not_found)
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

/// The parent with the replicas of its new Scale, and with whose they are now.
fn set_replicas(ask: &Ask<'_>, current: &Value, wanted: Value) -> Result<Value, Status> {
    if is_unset(&wanted) {
        let field = replicas_field(ask);
        return Err(Status::bad_request(format!(
            "the spec replicas field {field:?} cannot be empty"
        )));
    }
    let replicas = object::i64_at(&wanted, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        if !ask.kind().is_built_in() {
            // As the definition says where they are.
            let path = Path::new(replicas_field(ask));
            let error = Error::invalid(&path, replicas, "should be a non-negative integer");
            let kind = GroupKind::new(ask.kind().group.clone(), ask.kind().kind.clone());
            return Err(Status::invalid(kind, ask.request.info.name, vec![error]));
        }
        let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(
            GroupKind::new("autoscaling", "Scale"),
            ask.request.info.name,
            vec![error],
        ));
    }
    let mut tree = current.clone();
    ask.kind().strategy.set_scale(&mut tree, replicas)?;
    managed::scale::keep(ask.kind(), &mut tree, wanted)?;
    Ok(tree)
}
