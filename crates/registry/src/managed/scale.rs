//! Managed fields of `/scale`: those of the parent that own its replicas.

use knarr_api::{Kind, schema};
use knarr_apply::{Applier, FieldManager, Schema, Versions, scale};
use knarr_meta::{
    object,
    status::{Reason, Status},
    time,
};
use serde_json::{Value, json};

use super::{put, take};

/// The type of every Scale.
pub const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

struct Scales;

impl Versions for Scales {
    fn schema(&self, version: &str) -> Option<&dyn Schema> {
        let schema = (version == scale::VERSION).then(|| schema::definition(DEFINITION))??;
        Some(schema)
    }

    fn convert(&self, _: &Value, from: &str, to: &str) -> Result<Value, String> {
        Err(format!("a Scale of {from} is none of {to}"))
    }
}

fn fields(now: &str) -> FieldManager<'_> {
    FieldManager {
        versions: &Scales,
        version: scale::VERSION,
        kind: "Scale",
        subresource: "scale",
        filter: None,
        now,
    }
}

/// Where the stored version of a kind has its replicas.
fn replicas<'k>(kind: &'k Kind) -> impl Fn(&str) -> Option<Vec<&'k str>> + 'k {
    let version = kind.api_version();
    move |asked| (asked == version).then(|| kind.strategy.replicas_path())
}

fn internal(why: String) -> Status {
    Status::new(500, Reason::Unknown, why)
}

/// The Scale of an object; `None` where it has none.
pub fn view(kind: &Kind, object: &Value) -> Option<Value> {
    let (wanted, actual, selector) = kind.strategy.scale(object)?;
    let mut meta = json!({
        "name": object::name(object),
        "uid": object::uid(object),
        "resourceVersion": object::resource_version(object),
        "creationTimestamp": object::creation_timestamp(object),
    });
    if !object::namespace(object).is_empty() {
        meta["namespace"] = json!(object::namespace(object));
    }
    let mut status = json!({"replicas": actual});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Some(json!({
        "kind": "Scale",
        "apiVersion": scale::VERSION,
        "metadata": meta,
        "spec": {"replicas": wanted},
        "status": status,
    }))
}

/// Gives a Scale the managed fields that its parent has for it.
pub fn show(kind: &Kind, parent: &Value, view: &mut Value) -> Result<(), Status> {
    let entries = parent.pointer("/metadata/managedFields");
    let entries = scale::of_parent(entries, &replicas(kind)).map_err(internal)?;
    put(view, entries);
    Ok(())
}

/// Sets the managed fields of a Scale that `manager` makes of `live`.
pub fn update(live: &Value, new: &mut Value, manager: &str) {
    fields(&time::now_seconds()).update(Some(live), new, manager);
}

/// What a configuration makes of a Scale.
pub fn apply(live: &Value, config: &Value, by: Applier<'_>) -> Result<Value, Status> {
    fields(&time::now_seconds()).apply(live, config, by)
}

/// Gives the parent the managed fields of its new Scale.
pub fn keep(kind: &Kind, parent: &mut Value, mut scale: Value) -> Result<(), Status> {
    let of_scale = take(&mut scale);
    let entries = take(parent);
    let version = kind.api_version();
    let entries = scale::to_parent(
        entries.as_ref(),
        of_scale.as_ref(),
        &version,
        &replicas(kind),
    )
    .map_err(internal)?;
    put(parent, entries);
    Ok(())
}
