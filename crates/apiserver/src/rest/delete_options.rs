//! DeleteOptions, from a body or from the query.

use bytes::Bytes;
use knarr_api::schema;
use knarr_auth::query::Query;
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    status::Status,
};
use knarr_registry::write::{DeleteOptions, Propagation};
use serde_json::Value;

use super::ask::{Ask, dry_run};
use crate::{
    negotiate::{BodyEncoding, body_encoding},
    protobuf, yaml,
};

const DEFINITION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The body where there is one, else the query: beside a body a query says nothing, not even that it is a dry run.
pub fn parse(ask: &Ask<'_>, body: &Bytes) -> Result<DeleteOptions, Status> {
    let mut errors = Vec::new();
    let options = match body.is_empty() {
        true => from_query(ask.request.query, &mut errors)?,
        false => {
            let mut tree: Value = match body_encoding(ask.request.headers.content_type)? {
                BodyEncoding::Protobuf => protobuf::decode(body, ("v1", "DeleteOptions"))?,
                BodyEncoding::Json => {
                    serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?
                }
                BodyEncoding::Yaml => yaml::parse(body).map_err(Status::bad_request)?,
            };
            // What Go's clients make of options that are not there.
            if tree.is_null() {
                tree = Value::Object(serde_json::Map::new());
            }
            // A precondition of the wrong type must not be none.
            if let Some(definition) = schema::definition(DEFINITION) {
                schema::strict::check(definition, &mut tree)?;
            }
            if let Some(map) = tree.as_object_mut() {
                // Many say no type: what is told has one.
                map.entry("kind").or_insert_with(|| "DeleteOptions".into());
                map.entry("apiVersion").or_insert_with(|| "v1".into());
            }
            ask.audit.request_object(&tree);
            from_tree(&tree, &mut errors)?
        }
    };
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        errors.push(Error::invalid(
            &Path::new("propagationPolicy"),
            options.propagation_policy.map(text),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    match errors.is_empty() {
        true => Ok(options),
        false => Err(Status::invalid(
            GroupKind::new("meta.k8s.io", "DeleteOptions"),
            "",
            errors,
        )),
    }
}

fn from_query(query: &Query<'_>, errors: &mut Vec<Error>) -> Result<DeleteOptions, Status> {
    // Preconditions stand there without what they are within in a body. Here an empty one is none.
    let condition = |name| Some(query.get(name)).filter(|value| !value.is_empty());
    Ok(DeleteOptions {
        uid: condition("uid").map(str::to_owned),
        resource_version: condition("resourceVersion").map(str::to_owned),
        grace_period_seconds: query.integer("gracePeriodSeconds")?,
        orphan_dependents: query.optional_flag("orphanDependents"),
        propagation_policy: propagation(query.get("propagationPolicy"), errors),
        dry_run: dry_run(query.all("dryRun"), errors),
    })
}

fn from_tree(tree: &Value, errors: &mut Vec<Error>) -> Result<DeleteOptions, Status> {
    let kind = tree
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(Status::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions (it is a {kind})"
        )));
    }
    let dry = knarr_meta::object::list_at(tree, &["dryRun"]);
    Ok(DeleteOptions {
        grace_period_seconds: tree.get("gracePeriodSeconds").and_then(Value::as_i64),
        uid: precondition(tree, "uid"),
        resource_version: precondition(tree, "resourceVersion"),
        orphan_dependents: tree.get("orphanDependents").and_then(Value::as_bool),
        propagation_policy: propagation(
            tree.get("propagationPolicy")
                .and_then(Value::as_str)
                .unwrap_or(""),
            errors,
        ),
        dry_run: dry_run(dry.iter().filter_map(Value::as_str), errors),
    })
}

fn text(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Orphan => "Orphan",
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
    }
}

/// A precondition of these options. An empty one is one, which no object meets: upstream tells it from none by its pointer, and
/// who forgot to fill it in does not mean whatever has the name by now.
pub fn precondition(options: &Value, field: &str) -> Option<String> {
    let value = options.get("preconditions")?.get(field)?;
    value.as_str().map(str::to_owned)
}

fn propagation(text: &str, errors: &mut Vec<Error>) -> Option<Propagation> {
    match text {
        "" => None,
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        other => {
            errors.push(Error::not_supported(
                &Path::new("propagationPolicy"),
                other,
                // Upstream sorts by nothing, and names what is absent.
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    }
}
