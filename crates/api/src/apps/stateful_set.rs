//! StatefulSet.

use std::collections::BTreeSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{self, at, i64_at, label, list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
    status::Status,
};
use serde_json::{Map, Value, json};

use crate::{
    core::{
        persistent_volume_claim::{default_spec, spec as claim_spec},
        pod_spec,
    },
    kind::{BuiltIn, Column, Part, SCALE, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::Warnings,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "apps",
    version: "v1",
    kind: "StatefulSet",
    resource: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[SCALE, STATUS],
    storage: Some("/registry/statefulsets"),
    definition: "io.k8s.api.apps.v1.StatefulSet",
    strategy: &StatefulSet,
    aliases: &[],
};

struct StatefulSet;

const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Ready replicas of desired ones."),
    AGE,
    super::CONTAINERS,
    super::IMAGES,
];

/// Which parts of the spec never change.
const FROZEN: [&str; 4] = [
    "selector",
    "volumeClaimTemplates",
    "serviceName",
    "podManagementPolicy",
];

/// What is checked of a new object only: old ones may have been made under other rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Stored,
}

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_str(spec, "podManagementPolicy", "OrderedReady");
        default_strategy(spec);
        if let Some(policy) = tree::child(spec, "persistentVolumeClaimRetentionPolicy") {
            tree::default_str(policy, "whenDeleted", "Retain");
            tree::default_str(policy, "whenScaled", "Retain");
        }
        tree::default_value(spec, "replicas", 1);
        tree::default_value(spec, "revisionHistoryLimit", 10);
        for claim in tree::items(spec, "volumeClaimTemplates") {
            claim.insert("apiVersion".to_owned(), "v1".into());
            claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            if let Some(spec) = tree::child(claim, "spec") {
                default_spec(spec);
            }
            if let Some(status) = tree::child(claim, "status") {
                tree::default_str(status, "phase", "Pending");
            }
        }
        super::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(
            object,
            "status",
            json!({"availableReplicas": 0, "replicas": 0}),
        );
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        super::keep_other_part(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        validate_spec(object, Age::New)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            return validate_status(new, old);
        }
        let mut errors = validate_spec(new, Age::Stored);
        let spec = |object| at(object, &["spec"]).unwrap_or(&Value::Null);
        for field in FROZEN {
            validate::immutable(
                &mut errors,
                &Path::new("spec").child(field),
                spec(new).get(field),
                spec(old).get(field),
            );
        }
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        pod_spec::warnings::of_workload(object, old, &mut out);
        let claims = Path::new("spec").child("volumeClaimTemplates");
        let templates = list_at(object, &["spec", "volumeClaimTemplates"]);
        for (index, claim) in templates.iter().enumerate() {
            let mut path = claims.index(index);
            if old.is_some() {
                // Upstream's path differs between the two.
                path = path.child("Spec");
            }
            if let Some(spec) = struct_at(claim, &["spec"]) {
                pod_spec::warnings::claim_spec(spec, &path, &mut out);
            }
        }
        let limit = i64_at(object, &["spec", "revisionHistoryLimit"]);
        if limit.is_some_and(|limit| limit < 0) {
            out.add("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended");
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::name_or_prefix(name, generate_prefix, names::dns1123_label)
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let ready = i64_at(object, &["status", "readyReplicas"]).unwrap_or_default();
        let desired = i64_at(object, &["spec", "replicas"]).unwrap_or_default();
        let [containers, images] = super::template_cells(object);
        vec![
            table::name(object),
            format!("{ready}/{desired}").into(),
            table::age(object, now),
            containers,
            images,
        ]
    }

    fn scale(&self, object: &Value) -> Option<(i64, i64, String)> {
        super::scale(object)
    }

    fn set_scale(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        super::set_scale(object, replicas)
    }
}

/// A type without its parameters keeps them absent.
fn default_strategy(spec: &mut Map<String, Value>) {
    let Some(strategy) = tree::child(spec, "updateStrategy") else {
        return;
    };
    if tree::text(strategy, "type").is_empty() {
        strategy.insert("type".to_owned(), "RollingUpdate".into());
        tree::default_value(strategy, "rollingUpdate", Map::new());
    }
    if tree::text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = tree::existing(strategy, "rollingUpdate")
    {
        tree::default_value(rolling, "partition", 0);
        tree::default_value(rolling, "maxUnavailable", 1);
    }
}

fn validate_spec(object: &Value, age: Age) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    match str_at(spec, &["podManagementPolicy"]) {
        "" => errors.push(Error::required(&path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => errors.push(Error::invalid(
            &path.child("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
    validate_strategy(spec, &path.child("updateStrategy"), &mut errors);
    let policy_path = path.child("persistentVolumeClaimRetentionPolicy");
    if let Some(policy) = struct_at(spec, &["persistentVolumeClaimRetentionPolicy"]) {
        for field in ["whenDeleted", "whenScaled"] {
            let value = str_at(policy, &[field]);
            if !["Retain", "Delete"].contains(&value) {
                let path = policy_path.child(field);
                errors.push(Error::not_supported(&path, value, &["Retain", "Delete"]));
            }
        }
    }
    if age == Age::New {
        let path = path.child("volumeClaimTemplates");
        for (index, claim) in list_at(spec, &["volumeClaimTemplates"]).iter().enumerate() {
            let claim = claim.get("spec").unwrap_or(&Value::Null);
            claim_spec::validate(claim, &path.index(index).child("spec"), &mut errors);
        }
    }
    validate::none_negative(&mut errors, spec, &["replicas", "minReadySeconds"], &path);
    if let Some(start) = i64_at(spec, &["ordinals", "start"]) {
        validate::not_negative(&mut errors, &path.child("ordinals.start"), Some(start));
    }
    let service = str_at(spec, &["serviceName"]);
    if age == Age::New && !service.is_empty() {
        validate::label(&mut errors, &path.child("serviceName"), service);
    }
    if validate_selector(spec, &path, &mut errors) {
        validate_template(spec, &path, &mut errors);
    }
    let template = at(spec, &["template"]).unwrap_or(&Value::Null);
    super::validate_forever(
        template,
        "StatefulSet",
        &path.child("template"),
        &mut errors,
    );
    errors
}

fn validate_strategy(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    let rolling = struct_at(strategy, &["rollingUpdate"]);
    let rolling_path = path.child("rollingUpdate");
    match (str_at(strategy, &["type"]), rolling) {
        ("", _) => errors.push(Error::required(path, "")),
        ("OnDelete", Some(rolling)) => errors.push(Error::invalid(
            &rolling_path,
            rolling.clone(),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        ("RollingUpdate", Some(rolling)) => {
            validate::none_negative(errors, rolling, &["partition"], &rolling_path);
            if let Some(unavailable) = rolling.get("maxUnavailable").filter(|v| !v.is_null()) {
                let path = rolling_path.child("maxUnavailable");
                super::validate_int_or_percent(unavailable, &path, errors);
                if super::int_or_percent(unavailable).0 == 0 {
                    errors.push(Error::invalid(&path, unavailable.clone(), "cannot be 0"));
                }
                super::validate_at_most_all(unavailable, &path, errors);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => errors.push(Error::invalid(
            path,
            strategy.clone(),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
}

/// Whether it is one, which is what the template is looked at for.
fn validate_selector(spec: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let selector_path = path.child("selector");
    let selector = struct_at(spec, &["selector"]);
    match selector {
        None => errors.push(Error::required(&selector_path, "")),
        Some(tree) => {
            validate_label_selector(tree, &selector_path, errors);
            let empty = map_at(tree, &["matchLabels"]).is_none_or(Map::is_empty)
                && list_at(tree, &["matchExpressions"]).is_empty();
            if empty {
                let why = "empty selector is invalid for statefulset";
                errors.push(Error::invalid(&selector_path, tree.clone(), why));
            }
        }
    }
    let template = at(spec, &["template"]).unwrap_or(&Value::Null);
    let read = Selector::from_value(selector);
    let is_one = read.is_ok();
    match read {
        Err(_) => {
            let shown = selector.cloned().unwrap_or_default();
            errors.push(Error::invalid(&selector_path, shown, ""));
        }
        Ok(read) if !read.is_empty() && !read.matches_with(|key| label(template, key)) => {
            let labels = at(template, &["metadata", "labels"]).cloned();
            errors.push(Error::invalid(
                &path.child("template").child("metadata").child("labels"),
                labels.unwrap_or_default(),
                "`selector` does not match template `labels`",
            ));
        }
        Ok(_) => {}
    }
    is_one
}

/// The template with what the controller puts in place of it: names of its own, and volumes of claims.
fn validate_template(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut template = at(spec, &["template"]).cloned().unwrap_or_default();
    let claims = list_at(spec, &["volumeClaimTemplates"]);
    if let Some(pod) = object::child_mut(&mut template, "spec") {
        pod.remove("hostname");
        pod.remove("subdomain");
        if !claims.is_empty() {
            let name = |claim: &Value| str_at(claim, &["metadata", "name"]).to_owned();
            // Two claims of one name are one volume.
            let names: BTreeSet<String> = claims.iter().map(name).collect();
            let mut volumes: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
                .collect();
            let others = pod.get("volumes").and_then(Value::as_array);
            let others = others.into_iter().flatten();
            let kept = others.filter(|volume| !names.contains(str_at(volume, &["name"])));
            volumes.extend(kept.cloned());
            pod.insert("volumes".to_owned(), volumes.into());
        }
    }
    pod_spec::validate_template(&template, &path.child("template"), errors);
}

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let status = new.get("status").unwrap_or(&Value::Null);
    let count = |field: &str| i64_at(status, &[field]).unwrap_or_default();
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
    ];
    validate::none_negative(&mut errors, status, &counts, &path);
    validate::none_negative(&mut errors, status, &["observedGeneration"], &path);
    for field in &counts[1..] {
        if count(field) > count("replicas") {
            let why = "cannot be greater than status.replicas";
            errors.push(Error::invalid(&path.child(*field), count(field), why));
        }
    }
    let available = count("availableReplicas");
    if available > count("readyReplicas") {
        errors.push(Error::invalid(
            &path.child("availableReplicas"),
            available,
            "cannot be greater than status.readyReplicas",
        ));
    }
    super::validate_collisions(new, old, &mut errors);
    errors
}

#[cfg(test)]
mod tests;
