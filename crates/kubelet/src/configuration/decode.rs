//! From the text of a file to a tree in which every field is known and has the form it should have.

use knarr_meta::{duration, field::quote};
use serde_json::{Map, Value};

use super::fields::{FIELDS, Field, Shape, Use};
use crate::sources::yaml;

pub(super) const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
pub(super) const KIND: &str = "KubeletConfiguration";

pub(super) type Tree = Map<String, Value>;

/// Reads one file: strict, and without its version and kind.
///
/// # Errors
/// What is wrong with it, with the field's path.
pub(super) fn decode(text: &[u8]) -> Result<Tree, String> {
    let Value::Object(mut tree) = yaml::parse_strictly(text)? else {
        return Err("it is not an object".to_owned());
    };
    let mut take = |name: &str| match tree.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(format!("Object '{name}' is missing")),
    };
    let (version, kind) = (take("apiVersion")?, take("kind")?);
    if version != API_VERSION || kind != KIND {
        return Err(format!(
            "no kind {} is registered for version {}: it must be {KIND} of {API_VERSION}",
            quote(&kind),
            quote(&version)
        ));
    }
    check(&mut tree, "")?;
    Ok(tree)
}

/// Refuses fields that are not there or have another form; forgets those that are null.
fn check(tree: &mut Tree, prefix: &str) -> Result<(), String> {
    tree.retain(|_, value| !value.is_null());
    for (name, value) in tree {
        let path = format!("{prefix}{name}");
        let below = format!("{path}.");
        if let Some(field) = FIELDS.iter().find(|field| field.path == path) {
            form(field.shape, value).map_err(|why| format!("{path}: {why}"))?;
        } else if !FIELDS.iter().any(|field| field.path.starts_with(&below)) {
            return Err(format!(
                "strict decoding error: unknown field {}",
                quote(&path)
            ));
        } else if let Value::Object(inner) = value {
            check(inner, &below)?;
        } else {
            return Err(format!("{path}: must be an object"));
        }
    }
    Ok(())
}

/// Why a value does not have the form of its field.
fn form(shape: Shape, value: &Value) -> Result<(), String> {
    let is = |fits: bool, what: &str| match fits {
        true => Ok(()),
        false => Err(format!("must be {what}")),
    };
    let of_list =
        |fits: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(fits));
    let of_map =
        |fits: fn(&Value) -> bool| value.as_object().is_some_and(|all| all.values().all(fits));
    match shape {
        Shape::Bool => is(value.is_boolean(), "true or false"),
        Shape::Int => is(is_int(value), "a whole number of 32 bits"),
        Shape::Long => is(value.is_i64(), "a whole number"),
        Shape::Float => is(value.is_number(), "a number"),
        Shape::Text => is(value.is_string(), "a string"),
        Shape::DurationOrInt if value.is_i64() => Ok(()),
        Shape::Duration | Shape::DurationOrInt => match value.as_str() {
            Some(text) => duration::parse(text).map(|_| ()),
            None => Err("must be a duration such as 1m30s".to_owned()),
        },
        Shape::Ints => is(of_list(is_int), "a list of whole numbers"),
        Shape::Texts => is(of_list(Value::is_string), "a list of strings"),
        Shape::TextMap => is(of_map(Value::is_string), "an object of strings"),
        Shape::BoolMap => is(of_map(Value::is_boolean), "an object of true and false"),
        Shape::TextsMap => is(
            of_map(|one| {
                one.as_array()
                    .is_some_and(|all| all.iter().all(Value::is_string))
            }),
            "an object of lists of strings",
        ),
        Shape::Objects(names) => {
            let objects = value.as_array().and_then(|all| {
                let objects = all.iter().map(Value::as_object);
                objects.collect::<Option<Vec<&Tree>>>()
            });
            let objects = objects.ok_or_else(|| "must be a list of objects".to_owned())?;
            let mut all = objects.into_iter().flat_map(|object| object.keys());
            match all.find(|name| !names.contains(&name.as_str())) {
                Some(unknown) => Err(format!(
                    "strict decoding error: unknown field {}",
                    quote(unknown)
                )),
                None => Ok(()),
            }
        }
    }
}

fn is_int(value: &Value) -> bool {
    value
        .as_i64()
        .is_some_and(|number| i32::try_from(number).is_ok())
}

/// Whether a value is what Go has where nothing was said. Only of a duration is that the text "0": of CPUs it is the first one.
fn is_zero(shape: Shape, value: &Value) -> bool {
    let of_time = matches!(shape, Shape::Duration | Shape::DurationOrInt);
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || (of_time && duration::parse(text) == Ok(0)),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The value at a path.
pub(super) fn get<'a>(tree: &'a Tree, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = tree.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Puts a value at a path, or takes what is there away.
pub(super) fn set(tree: &mut Tree, path: &str, value: Option<Value>) {
    match path.split_once('.') {
        Some((first, _)) if value.is_none() && !tree.contains_key(first) => {}
        Some((first, rest)) => {
            let inner = tree
                .entry(first)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
        None => match value {
            Some(value) => {
                tree.insert(path.to_owned(), value);
            }
            None => {
                tree.remove(path);
            }
        },
    }
}

/// Refuses what is not supported.
///
/// # Errors
/// The path of the first such field, what it says, and why it does not do.
pub(super) fn refuse(tree: &Tree) -> Result<(), String> {
    for field in FIELDS {
        let Use::Only(others, why) = field.what else {
            continue;
        };
        let Some(value) = get(tree, field.path) else {
            continue;
        };
        let other =
            |json: &&str| serde_json::from_str::<Value>(json).is_ok_and(|one| one == *value);
        if !is_default(field, value) && !others.iter().any(other) {
            return Err(format!("{}: {value} is not supported: {why}", field.path));
        }
    }
    Ok(())
}

fn is_default(field: &Field, value: &Value) -> bool {
    if field.zero_is_unset && is_zero(field.shape, value) {
        return true;
    }
    let default = field.default_value();
    let same = match field.shape {
        Shape::Duration | Shape::DurationOrInt => {
            let nanos = |value: &Value| value.as_str().and_then(|text| duration::parse(text).ok());
            default.as_ref().and_then(nanos) == nanos(value)
        }
        _ => default.as_ref() == Some(value),
    };
    // What has no value without a file may be said to have none.
    same || (default.is_none() && is_zero(field.shape, value))
}

/// Fills in what a file leaves out, and writes durations as Go does.
pub(super) fn complete(tree: &mut Tree) {
    let was_set = |tree: &Tree, path: &str| {
        get(tree, path).is_some_and(|value| !is_zero(Shape::Duration, value))
    };
    if was_set(tree, "nodeStatusUpdateFrequency") && !was_set(tree, "nodeStatusReportFrequency") {
        let same = get(tree, "nodeStatusUpdateFrequency").cloned();
        set(tree, "nodeStatusReportFrequency", same);
    }
    if let (None, Some(most)) = (
        get(tree, "serializeImagePulls"),
        get(tree, "maxParallelImagePulls").and_then(Value::as_i64),
    ) {
        set(tree, "serializeImagePulls", Some((most < 2).into()));
    }
    if get(tree, "podPidsLimit")
        .and_then(Value::as_i64)
        .is_some_and(|most| most < 0)
    {
        set(tree, "podPidsLimit", Some((-1).into()));
    }
    let merged = get(tree, "mergeDefaultEvictionSettings") == Some(&Value::Bool(true));
    for field in FIELDS {
        let default = field.default_value();
        let unset = match get(tree, field.path) {
            None => true,
            Some(value) => field.zero_is_unset && is_zero(field.shape, value),
        };
        if unset {
            set(tree, field.path, default);
        } else if field.path == "evictionHard" && merged {
            merge_missing(tree, default);
        } else if field.shape == Shape::Duration
            && let Some(nanos) = get(tree, field.path)
                .and_then(Value::as_str)
                .and_then(|text| duration::parse(text).ok())
        {
            set(tree, field.path, Some(duration::format(nanos).into()));
        }
    }
}

/// Adds thresholds that a file does not name.
fn merge_missing(tree: &mut Tree, default: Option<Value>) {
    let Some(Value::Object(own)) = tree.get_mut("evictionHard") else {
        return;
    };
    let Some(Value::Object(default)) = default else {
        return;
    };
    for (signal, threshold) in default {
        own.entry(signal).or_insert(threshold);
    }
}
