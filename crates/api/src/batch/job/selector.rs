//! The selector that the server makes, so that no two jobs have pods in common, and the labels it selects by.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    object::{self, at, bool_at, label, struct_at},
};
use serde_json::{Map, Value};

use crate::tree;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_CONTROLLER_UID: &str = "controller-uid";
const LEGACY_JOB_NAME: &str = "job-name";

/// Makes selector and labels from uid and name, unless the user has asked to choose them. What the user has set stays, for
/// validation to refuse.
pub(super) fn generate(job: &mut Value) {
    if bool_at(job, &["spec", "manualSelector"]) {
        return;
    }
    let uid = object::uid(job).to_owned();
    let name = object::name(job).to_owned();
    let Some(spec) = object::child_mut(job, "spec") else {
        return;
    };
    if let Some(labels) = tree::child(spec, "template")
        .and_then(|template| tree::child(template, "metadata"))
        .and_then(|meta| tree::child(meta, "labels"))
    {
        let mut add = |key: &str, value: &str| {
            let label = labels.entry(key.to_owned());
            label.or_insert_with(|| value.into());
        };
        add(LEGACY_JOB_NAME, &name);
        add(JOB_NAME, &name);
        add(LEGACY_CONTROLLER_UID, &uid);
        add(CONTROLLER_UID, &uid);
    }
    if let Some(labels) = tree::child(spec, "selector").and_then(|s| tree::child(s, "matchLabels"))
    {
        let label = labels.entry(CONTROLLER_UID.to_owned());
        label.or_insert_with(|| uid.into());
    }
}

/// That labels and selector are those that were to be made.
pub(super) fn validate_generated(job: &Value, errors: &mut ErrorList) {
    let selector = struct_at(job, &["spec", "selector"]);
    if bool_at(job, &["spec", "manualSelector"]) || selector.is_none() {
        return;
    }
    let (uid, name) = (object::uid(job), object::name(job));
    if uid.is_empty() {
        errors.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let expected = [
        (LEGACY_CONTROLLER_UID, uid),
        (LEGACY_JOB_NAME, name),
        (CONTROLLER_UID, uid),
        (JOB_NAME, name),
    ];
    let template = at(job, &["spec", "template"]).unwrap_or(&Value::Null);
    for (key, value) in expected {
        validate_label(template, key, value, errors);
    }
    let of_pods = |key: &str| expected.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if let Ok(parsed) = Selector::from_value(selector)
        && !parsed.matches_with(of_pods)
    {
        errors.push(Error::invalid(
            &Path::new("spec").child("selector"),
            selector.cloned().unwrap_or_default(),
            "`selector` not auto-generated",
        ));
    }
}

fn validate_label(template: &Value, key: &str, expected: &str, errors: &mut ErrorList) {
    let path = Path::new("spec").child("template").child("metadata");
    let path = path.child("labels").key(key);
    let message = format!("must be '{expected}'");
    match label(template, key) {
        None => errors.push(Error::required(&path, message)),
        Some(value) if value == expected => {}
        Some(_) => {
            let labels = at(template, &["metadata", "labels"]).cloned();
            let labels = labels.unwrap_or_else(|| Map::new().into());
            errors.push(Error::invalid(&path, labels, message));
        }
    }
}
