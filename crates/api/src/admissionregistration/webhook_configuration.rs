//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: which webhooks are asked about which writes.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, i64_at, list_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::{Map, Value, json};

use super::{FAILURE_POLICIES, match_conditions, rules};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

#[cfg(test)]
mod tests;

pub static MUTATING: BuiltIn = BuiltIn {
    kind: "MutatingWebhookConfiguration",
    resource: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    storage: Some("/registry/mutatingwebhookconfigurations"),
    definition: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    strategy: &Webhooks { mutating: true },
    ..VALIDATING
};

pub static VALIDATING: BuiltIn = BuiltIn {
    group: "admissionregistration.k8s.io",
    version: "v1",
    kind: "ValidatingWebhookConfiguration",
    resource: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    short_names: &[],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/validatingwebhookconfigurations"),
    definition: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    strategy: &Webhooks { mutating: false },
    aliases: &[],
};

struct Webhooks {
    mutating: bool,
}

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Webhooks",
        "integer",
        "How many webhooks the configuration has.",
    ),
    AGE,
];

const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
/// Side effects that new configurations may have, and those of upstream's first version of this API.
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const OLD_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
/// Versions of AdmissionReview.
const REVIEWS: &[&str] = &["v1", "v1beta1"];
const SECONDS: std::ops::RangeInclusive<i64> = 1..=30;
const DEFAULT_SECONDS: i64 = 10;
const DEFAULT_PORT: i64 = 443;
/// Names with it are those of configurations in files, which this server does not read.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// What a configuration is held to: an update keeps what was there before a rule was.
#[derive(Clone, Copy)]
struct Rigour {
    side_effects: bool,
    reviews: bool,
    unique: bool,
    conditions: bool,
}

const FULL: Rigour = Rigour {
    side_effects: true,
    reviews: true,
    unique: true,
    conditions: true,
};

fn webhooks(configuration: &Value) -> &[Value] {
    list_at(configuration, &["webhooks"])
}

impl Rigour {
    /// Of an update of this configuration.
    fn of_update(new: &Value, old: &Value) -> Rigour {
        let conditions = |configuration: &Value| -> Vec<Value> {
            let hooks = webhooks(configuration).iter();
            hooks.map(|hook| hook["matchConditions"].clone()).collect()
        };
        let names: Vec<&str> = webhooks(old).iter().map(object_name).collect();
        Rigour {
            side_effects: webhooks(old)
                .iter()
                .all(|hook| SIDE_EFFECTS.contains(&str_at(hook, &["sideEffects"]))),
            reviews: webhooks(old).iter().all(|hook| {
                let versions = rules::texts(hook, "admissionReviewVersions");
                versions.is_empty() || versions.iter().any(|version| REVIEWS.contains(version))
            }),
            unique: names.iter().collect::<HashSet<_>>().len() == names.len(),
            conditions: conditions(new) != conditions(old),
        }
    }
}

fn object_name(hook: &Value) -> &str {
    str_at(hook, &["name"])
}

impl Webhooks {
    fn default_hook(&self, hook: &mut Map<String, Value>) {
        tree::default_value(hook, "failurePolicy", "Fail");
        tree::default_value(hook, "matchPolicy", "Equivalent");
        tree::default_value(hook, "namespaceSelector", json!({}));
        tree::default_value(hook, "objectSelector", json!({}));
        tree::default_value(hook, "timeoutSeconds", DEFAULT_SECONDS);
        if self.mutating {
            tree::default_value(hook, "reinvocationPolicy", "Never");
        }
        let service = hook.get_mut("clientConfig");
        let service = service.and_then(|config| config.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            tree::default_value(service, "port", DEFAULT_PORT);
        }
    }

    fn validate(&self, configuration: &Value, rigour: Rigour) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut seen = HashSet::new();
        for (index, hook) in webhooks(configuration).iter().enumerate() {
            let path = Path::new("webhooks").index(index);
            self.validate_hook(hook, rigour, &path, &mut errors);
            let at = path.child("admissionReviewVersions");
            review_versions(hook, rigour.reviews, &at, &mut errors);
            let name = object_name(hook);
            if rigour.unique && !name.is_empty() && !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        errors
    }

    fn validate_hook(&self, hook: &Value, rigour: Rigour, path: &Path, errors: &mut ErrorList) {
        qualified_name(object_name(hook), &path.child("name"), errors);
        for (index, rule) in list_at(hook, &["rules"]).iter().enumerate() {
            rules::validate(rule, &path.child("rules").index(index), errors);
        }
        let mut one_of = |field: &'static str, supported: &[&str]| {
            if let Some(value) = hook.get(field).filter(|value| !value.is_null()) {
                let text = value.as_str().unwrap_or_default();
                if !supported.contains(&text) {
                    errors.push(Error::not_supported(&path.child(field), text, supported));
                }
            }
        };
        one_of("failurePolicy", FAILURE_POLICIES);
        one_of("matchPolicy", MATCH_POLICIES);
        let side_effects = match rigour.side_effects {
            true => SIDE_EFFECTS,
            false => OLD_SIDE_EFFECTS,
        };
        one_of("sideEffects", side_effects);
        if hook.get("sideEffects").is_none_or(Value::is_null) {
            let why = format!("must specify one of {}", side_effects.join(", "));
            errors.push(Error::required(&path.child("sideEffects"), why));
        }
        if let Some(seconds) = i64_at(hook, &["timeoutSeconds"])
            && !SECONDS.contains(&seconds)
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, why));
        }
        for field in ["namespaceSelector", "objectSelector"] {
            if let Some(selector) = struct_at(hook, &[field]) {
                validate_label_selector(selector, &path.child(field), errors);
            }
        }
        if self.mutating
            && let policy = str_at(hook, &["reinvocationPolicy"])
            && !policy.is_empty()
            && !REINVOCATION_POLICIES.contains(&policy)
        {
            let at = path.child("reinvocationPolicy");
            errors.push(Error::not_supported(&at, policy, REINVOCATION_POLICIES));
        }
        let config = hook.get("clientConfig").unwrap_or(&Value::Null);
        validate::webhook::client_config(config, &path.child("clientConfig"), errors);
        if rigour.conditions {
            match_conditions::validate(hook, false, path, errors);
        }
    }
}

/// Upstream's `IsFullyQualifiedName`.
fn qualified_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.push(Error::invalid(path, name, wrong.join(",")));
        return;
    }
    if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path, name, why));
    }
}

fn review_versions(hook: &Value, known: bool, path: &Path, errors: &mut ErrorList) {
    let versions = rules::texts(hook, "admissionReviewVersions");
    if versions.is_empty() {
        let why = format!("must specify one of {}", REVIEWS.join(", "));
        errors.push(Error::required(path, why));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(*version) {
            errors.push(Error::invalid(&path, *version, "duplicate version"));
            continue;
        }
        validate::each(errors, &path, version, names::dns1035_label(version));
    }
    if known && !REVIEWS.iter().any(|version| seen.contains(version)) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(Error::invalid(path, versions, why));
    }
}

fn reserved() -> String {
    format!(
        "names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )
}

impl Strategy for Webhooks {
    fn default(&self, object: &mut Value) {
        let hooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
        for hook in hooks.into_iter().flatten() {
            rules::default(hook, "rules");
            if let Some(hook) = hook.as_object_mut() {
                self.default_hook(hook);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = self.validate(object, FULL);
        let name = object::name(object);
        if name.ends_with(STATIC_SUFFIX) {
            let path = Path::new("metadata").child("name");
            errors.push(Error::invalid(&path, name, reserved()));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        self.validate(new, Rigour::of_update(new, old))
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        match object::name(object).ends_with(STATIC_SUFFIX) {
            true => vec![reserved()],
            false => Vec::new(),
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts_empty(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            webhooks(object).len().into(),
            table::age(object, now),
        ]
    }
}
