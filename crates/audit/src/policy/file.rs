//! The file of a policy: its form, and what of it means nothing.

use knarr_meta::{
    field::{self, Error, ErrorList, Path},
    names,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Decision, Policy, Stages,
    rule::{GroupResources, Rule},
};
use crate::{Level, Stage};

const API_VERSION: &str = "audit.k8s.io/v1";

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PolicyFile {
    rules: Vec<RuleFile>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RuleFile {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResourcesFile>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GroupResourcesFile {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// Parses a file, as upstream's `LoadPolicyFromBytes`: fields that nobody knows are told to the log and ignored.
pub fn parse(text: &[u8]) -> Result<Policy, String> {
    let failed = |why: &dyn std::fmt::Display| format!("failed decoding: {why}");
    let tree: Value = serde_saphyr::from_slice(text).map_err(|error| failed(&error))?;
    let said = |field: &str| tree[field].as_str().unwrap_or_default();
    let (api_version, kind) = (said("apiVersion"), said("kind"));
    if kind.is_empty() {
        return Err(failed(&"Object 'Kind' is missing"));
    }
    if api_version.is_empty() {
        return Err(failed(&"Object 'apiVersion' is missing"));
    }
    if (api_version, kind) != (API_VERSION, "Policy") {
        let why = format!("no kind {kind:?} is registered for version {api_version:?}");
        return Err(failed(&why));
    }
    let unknown = unknown_fields(&tree);
    if !unknown.is_empty() {
        let fields = unknown.join(", ");
        tracing::warn!(fields, "the audit policy has unknown fields");
    }
    let mut tree = tree;
    knarr_config::drop_nulls(&mut tree);
    let file: PolicyFile = serde_json::from_value(tree).map_err(|error| failed(&error))?;
    let errors = validate(&file);
    if !errors.is_empty() {
        return Err(field::aggregate(&errors));
    }
    match file.rules.is_empty() {
        true => Err("loaded illegal policy with 0 rules".to_owned()),
        false => Ok(policy(file)),
    }
}

/// The policy of a file that was validated.
fn policy(file: PolicyFile) -> Policy {
    let omit = stages(&file.omit_stages);
    let rules = file.rules.into_iter().map(|rule| Rule {
        decision: Decision {
            level: level(&rule.level).unwrap_or_default(),
            omit: omit.union(stages(&rule.omit_stages)),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(file.omit_managed_fields),
        },
        users: rule.users,
        groups: rule.user_groups,
        verbs: rule.verbs,
        resources: rule.resources.into_iter().map(group_resources).collect(),
        namespaces: rule.namespaces,
        non_resource_urls: rule.non_resource_urls,
    });
    Policy {
        rules: rules.collect(),
        otherwise: Decision {
            level: Level::None,
            omit,
            omit_managed_fields: file.omit_managed_fields,
        },
    }
}

fn group_resources(file: GroupResourcesFile) -> GroupResources {
    GroupResources {
        group: file.group,
        resources: file.resources,
        names: file.resource_names,
    }
}

fn level(name: &str) -> Option<Level> {
    Level::ALL.into_iter().find(|level| level.as_str() == name)
}

fn stage(name: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| stage.as_str() == name)
}

fn stages(names: &[String]) -> Stages {
    names.iter().filter_map(|name| stage(name)).collect()
}

fn validate(file: &PolicyFile) -> ErrorList {
    let mut errors = Vec::new();
    validate_stages(&file.omit_stages, &Path::new("omitStages"), &mut errors);
    let rules = Path::new("rules");
    for (at, rule) in file.rules.iter().enumerate() {
        validate_rule(rule, &rules.index(at), &mut errors);
    }
    errors
}

fn validate_rule(rule: &RuleFile, path: &Path, errors: &mut ErrorList) {
    let level_path = path.child("level");
    if rule.level.is_empty() {
        errors.push(Error::required(&level_path, ""));
    } else if level(&rule.level).is_none() {
        let known = Level::ALL.map(Level::as_str);
        errors.push(Error::not_supported(&level_path, &*rule.level, &known));
    }
    let urls = path.child("nonResourceURLs");
    for (at, url) in rule.non_resource_urls.iter().enumerate() {
        validate_url(url, &urls.index(at), errors);
    }
    for some in &rule.resources {
        validate_resources(some, &path.child("resources"), errors);
    }
    validate_stages(&rule.omit_stages, &path.child("omitStages"), errors);
    let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if !rule.non_resource_urls.is_empty() && of_resources {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(Error::invalid(&urls, rule.non_resource_urls.clone(), why));
    }
}

fn validate_url(url: &str, path: &Path, errors: &mut ErrorList) {
    if url == "*" {
        return;
    }
    if !url.starts_with('/') {
        let why = "non-resource URL rules must begin with a '/' character";
        errors.push(Error::invalid(path, url, why));
    }
    if url.strip_suffix('*').unwrap_or(url).contains('*') {
        let why = "non-resource URL wildcards '*' must be the final character of the rule";
        errors.push(Error::invalid(path, url, why));
    }
}

fn validate_resources(some: &GroupResourcesFile, path: &Path, errors: &mut ErrorList) {
    if !some.group.is_empty() && some.group != "*" {
        let wrong = names::dns1123_subdomain(&some.group);
        if !wrong.is_empty() {
            let why = wrong.join(",");
            errors.push(Error::invalid(&path.child("group"), &*some.group, why));
        }
    }
    if !some.resource_names.is_empty() && some.resources.is_empty() {
        let (names, path) = (some.resource_names.clone(), path.child("resourceNames"));
        let why = "using resourceNames requires at least one resource";
        errors.push(Error::invalid(&path, names, why));
    }
}

fn validate_stages(names: &[String], path: &Path, errors: &mut ErrorList) {
    for (at, name) in names.iter().enumerate() {
        if stage(name).is_none() {
            let known = Stage::ALL.map(Stage::as_str).join(",");
            let why = format!("allowed stages are {known}");
            errors.push(Error::invalid(&path.index(at), &**name, why));
        }
    }
}

/// Paths of fields that no policy has.
fn unknown_fields(tree: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let policy: &[&str] = &[
        "apiVersion",
        "kind",
        "metadata",
        "rules",
        "omitStages",
        "omitManagedFields",
    ];
    let rule: &[&str] = &[
        "level",
        "users",
        "userGroups",
        "verbs",
        "resources",
        "namespaces",
        "nonResourceURLs",
        "omitStages",
        "omitManagedFields",
    ];
    let of = |tree: &Value, path: &Path, known: &[&str], found: &mut Vec<String>| {
        let fields = tree.as_object().into_iter().flat_map(Map::keys);
        let unknown = fields.filter(|field| !known.contains(&field.as_str()));
        found.extend(unknown.map(|field| path.child(field.clone()).to_string()));
    };
    let items = |tree: &Value| tree.as_array().cloned().unwrap_or_default();
    of(tree, &Path::root(), policy, &mut found);
    for (at, one) in items(&tree["rules"]).iter().enumerate() {
        let path = Path::new("rules").index(at);
        of(one, &path, rule, &mut found);
        for (at, some) in items(&one["resources"]).iter().enumerate() {
            let known = ["group", "resources", "resourceNames"];
            of(some, &path.child("resources").index(at), &known, &mut found);
        }
    }
    found
}
