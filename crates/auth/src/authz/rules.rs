//! A policy rule and what it matches: pure functions, as upstream's `rbac/v1/evaluation_helpers.go` defines
//! them.

use serde::{Deserialize, Serialize};

use super::quote_all;
use crate::request::RequestInfo;

/// One rule of a Role or ClusterRole. `*` in any list but `resourceNames` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<String>,
}

/// `null` and absence are the same in the API.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn has(set: &[String], wanted: &str) -> bool {
    set.iter().any(|item| item == wanted)
}

fn star_or(set: &[String], wanted: &str) -> bool {
    set.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    /// True when the rule allows the request.
    pub fn allows(&self, request: &RequestInfo<'_>) -> bool {
        if !star_or(&self.verbs, request.verb) {
            return false;
        }
        if !request.is_resource {
            return self
                .non_resource_urls
                .iter()
                .any(|pattern| url_matches(pattern, request.path));
        }
        star_or(&self.api_groups, request.group)
            && self
                .resources
                .iter()
                .any(|pattern| resource_matches(pattern, request.resource, request.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, request.name))
    }

    /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`, the form of escalation errors.
    pub fn compact(&self) -> String {
        let parts: [(&str, &[String]); 5] = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(name, items)| format!("{name}:{}", quote_all(items)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// `pods`, `pods/log`, `*` (everything, subresources too) and `*/scale`.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((of, sub)) => {
            !subresource.is_empty() && sub == subresource && (of == "*" || of == resource)
        }
    }
}

/// Equal, or a prefix before a trailing `*`.
pub(super) fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*'))
}
