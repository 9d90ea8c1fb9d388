//! CSIDriver: what a driver for volumes needs and can do.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, at, bool_at, i64_at, list_at, str_at},
};
use serde_json::{Value, json};

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::Warnings,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "CSIDriver",
    resource: "csidrivers",
    singular: "csidriver",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/csidrivers"),
    definition: "io.k8s.api.storage.v1.CSIDriver",
    strategy: &CsiDriver,
    aliases: &[],
};

struct CsiDriver;

const LIFECYCLE_MODES: &[&str] = &["Persistent", "Ephemeral"];
const FS_GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const MIN_UPDATE_SECONDS: i64 = 10;

const COLUMNS: &[Column] = &[
    NAME,
    column("AttachRequired", "boolean", "Volumes are attached first."),
    column(
        "PodInfoOnMount",
        "boolean",
        "The driver is told of the pod on mount.",
    ),
    column(
        "StorageCapacity",
        "boolean",
        "The scheduler minds the driver's capacity.",
    ),
    column(
        "TokenRequests",
        "string",
        "Audiences of tokens that the driver gets on mount.",
    ),
    column(
        "RequiresRepublish",
        "boolean",
        "The driver is called again and again.",
    ),
    column(
        "Modes",
        "string",
        "Lives of volumes that the driver serves.",
    ),
    AGE,
];

impl Strategy for CsiDriver {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_value(spec, "attachRequired", true);
        for field in [
            "podInfoOnMount",
            "storageCapacity",
            "requiresRepublish",
            "seLinuxMount",
            "preventPodSchedulingIfMissing",
        ] {
            tree::default_value(spec, field, false);
        }
        tree::default_value(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        let modes = spec.get("volumeLifecycleModes").and_then(Value::as_array);
        if modes.is_none_or(Vec::is_empty) {
            spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let policy = str_at(spec, &["fsGroupPolicy"]);
        let policy_path = path.child("fsGroupPolicy");
        validate::one_of(&mut errors, &policy_path, policy, FS_GROUP_POLICIES, false);
        validate_tokens(spec, &path.child("tokenRequests"), &mut errors);
        let modes_path = path.child("volumeLifecycleModes");
        for mode in list_at(spec, &["volumeLifecycleModes"]) {
            let mode = mode.as_str().unwrap_or_default();
            if !LIFECYCLE_MODES.contains(&mode) {
                errors.push(Error::not_supported(&modes_path, mode, LIFECYCLE_MODES));
            }
        }
        if let Some(seconds) = i64_at(spec, &["nodeAllocatableUpdatePeriodSeconds"])
            && seconds < MIN_UPDATE_SECONDS
        {
            errors.push(Error::invalid(
                &path.child("nodeAllocatableUpdatePeriodSeconds"),
                seconds,
                format!("must be greater than or equal to {MIN_UPDATE_SECONDS} seconds"),
            ));
        }
        let in_secrets = spec.get("serviceAccountTokenInSecrets");
        let no_tokens = list_at(spec, &["tokenRequests"]).is_empty();
        if in_secrets.is_some_and(Value::is_boolean) && no_tokens {
            errors.push(Error::invalid(
                &path.child("serviceAccountTokenInSecrets"),
                in_secrets.cloned().unwrap_or_default(),
                "serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        for (field, shown) in [
            // Upstream misspells the first.
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            let of = |object| at(object, &["spec", field]);
            let path = Path::new("spec").child(shown);
            validate::immutable(&mut errors, &path, of(new), of(old));
        }
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        let tokens = |object| list_at(object, &["spec", "tokenRequests"]);
        let set = !tokens(object).is_empty() && old.is_none_or(|old| tokens(old) != tokens(object));
        if set && at(object, &["spec", "serviceAccountTokenInSecrets"]).is_none() {
            out.add(
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible \
                 logging of tokens in volume attributes",
            );
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_first_generation(&self) -> bool {
        false
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let attach = at(spec, &["attachRequired"]).and_then(Value::as_bool);
        let audiences: Vec<&str> = list_at(spec, &["tokenRequests"])
            .iter()
            .map(|request| str_at(request, &["audience"]))
            .collect();
        let tokens = match at(spec, &["tokenRequests"]) {
            Some(Value::Array(_)) => audiences.join(","),
            _ => "<unset>".to_owned(),
        };
        let modes: Vec<&str> = list_at(spec, &["volumeLifecycleModes"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![
            table::name(object),
            attach.unwrap_or(true).into(),
            bool_at(spec, &["podInfoOnMount"]).into(),
            bool_at(spec, &["storageCapacity"]).into(),
            tokens.into(),
            bool_at(spec, &["requiresRepublish"]).into(),
            table::or(&modes.join(","), "<none>"),
            table::age(object, now),
        ]
    }
}

/// Each audience once, and lives within bounds.
fn validate_tokens(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut audiences = HashSet::new();
    for (index, request) in list_at(spec, &["tokenRequests"]).iter().enumerate() {
        let path = path.index(index);
        let audience = str_at(request, &["audience"]);
        if !audiences.insert(audience) {
            errors.push(Error::duplicate(&path.child("audience"), audience));
            continue;
        }
        let Some(seconds) = i64_at(request, &["expirationSeconds"]) else {
            continue;
        };
        let why = match seconds {
            ..MIN_TOKEN_SECONDS => "may not specify a duration less than 10 minutes",
            MIN_TOKEN_SECONDS..=MAX_TOKEN_SECONDS => continue,
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        errors.push(Error::invalid(
            &path.child("expirationSeconds"),
            seconds,
            why,
        ));
    }
}
