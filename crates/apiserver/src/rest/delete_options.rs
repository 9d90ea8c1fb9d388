//! DeleteOptions, from a body or from the query.

use bytes::Bytes;
use knarr_api::schema;
use knarr_auth::query::Query;
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    json,
    object::{list_at, str_at},
    status::Status,
};
use knarr_registry::write::{DeleteOptions, Propagation};
use serde_json::Value;

use super::{
    ask::{Ask, dry_run},
    decode::not_registered,
};
use crate::{
    negotiate::{BodyEncoding, body_encoding},
    protobuf, yaml,
};

const KIND: &str = "DeleteOptions";
const ONLY_UNREADABLE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
/// What upstream calls the place where its options are known.
const SCHEME: &str = "pkg/apis/meta/internalversion/scheme/register.go:27";
const DEFINITION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The body where there is one, else the query: beside a body a query says nothing, not even that it is a dry run.
pub fn parse(ask: &Ask<'_>, body: &Bytes) -> Result<DeleteOptions, Status> {
    let mut errors = Vec::new();
    let options = match body.is_empty() {
        true => from_query(ask.request.query, &mut errors)?,
        false => {
            let mut tree = read(ask.request.headers.content_type, body)?;
            if let Some(map) = tree.as_object_mut() {
                // Many say no type: what is told has one.
                map.entry("kind").or_insert_with(|| "DeleteOptions".into());
                map.entry("apiVersion").or_insert_with(|| "v1".into());
            }
            ask.audit.request_object(&tree);
            from_tree(&tree, &mut errors)
        }
    };
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        errors.push(Error::invalid(
            &Path::new("propagationPolicy"),
            options.propagation_policy.map(text),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    validate_unreadable(&options, &mut errors);
    match errors.is_empty() {
        true => Ok(options),
        false => Err(invalid(errors)),
    }
}

fn invalid(errors: Vec<Error>) -> Status {
    Status::invalid(GroupKind::new("meta.k8s.io", KIND), "", errors)
}

/// What cannot be asked of an object that cannot be read.
fn validate_unreadable(options: &DeleteOptions, errors: &mut Vec<Error>) {
    if !options.only_unreadable {
        return;
    }
    for (given, field) in [
        (options.propagation_policy.is_some(), "propagationPolicy"),
        (options.orphan_dependents.is_some(), "orphanDependents"),
        (options.grace_period_seconds.is_some(), "gracePeriodSeconds"),
        (
            options.uid.is_some() || options.resource_version.is_some(),
            "preconditions",
        ),
    ] {
        if given {
            let why = format!("cannot be set together with .{field}");
            errors.push(Error::invalid(&Path::new(ONLY_UNREADABLE), true, why));
        }
    }
}

/// Those of a collection, each object of which can be read.
pub fn of_collection(ask: &Ask<'_>, body: &Bytes) -> Result<DeleteOptions, Status> {
    let options = parse(ask, body)?;
    if !options.only_unreadable {
        return Ok(options);
    }
    let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
    let path = Path::new(ONLY_UNREADABLE);
    Err(invalid(vec![Error::invalid(&path, true, why)]))
}

/// The options of a body, of their type.
fn read(content_type: &str, body: &[u8]) -> Result<Value, Status> {
    let no_type = |why: String| {
        Status::bad_request(format!(
            "couldn't get version/kind; json parse error: {why}"
        ))
    };
    let mut tree: Value = match body_encoding(content_type)? {
        BodyEncoding::Protobuf => protobuf::decode(body, ("v1", KIND))?,
        BodyEncoding::Json => {
            serde_json::from_slice(body).map_err(|error| no_type(json::explain(&error, body)))?
        }
        BodyEncoding::Yaml => yaml::parse(body).map_err(Status::bad_request)?,
    };
    // What Go's clients make of options that are not there.
    if tree.is_null() {
        tree = Value::Object(serde_json::Map::new());
    }
    if let Some(why) = json::not_an_object(&tree) {
        return Err(no_type(why));
    }
    let kind = str_at(&tree, &["kind"]);
    if !matches!(kind, "" | KIND) {
        let why = match str_at(&tree, &["apiVersion"]) {
            "v1" if kind == "Status" => {
                "converting (v1.Status) to (v1.DeleteOptions): unknown conversion".to_owned()
            }
            "" => not_registered("meta.k8s.io/v1", kind, SCHEME),
            of => not_registered(of, kind, SCHEME),
        };
        return Err(Status::bad_request(why));
    }
    // A precondition of the wrong type must not be none.
    if let Some(definition) = schema::definition(DEFINITION) {
        schema::strict::decode(definition, &mut tree)
            .map_err(|why| Status::bad_request(why.to_string()))?;
    }
    Ok(tree)
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
        only_unreadable: query.flag(ONLY_UNREADABLE),
    })
}

fn from_tree(tree: &Value, errors: &mut Vec<Error>) -> DeleteOptions {
    let dry = list_at(tree, &["dryRun"]);
    DeleteOptions {
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
        only_unreadable: tree.get(ONLY_UNREADABLE).and_then(Value::as_bool) == Some(true),
    }
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
