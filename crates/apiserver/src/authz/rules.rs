//! A policy rule and what it matches: pure functions, as upstream's `rbac/v1/evaluation_helpers.go` and
//! `policy_comparator.go` define them.

use std::{borrow::Cow, collections::BTreeMap};

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

    /// Splits into rules of one verb, one group, one resource and at most one name (or one URL) each.
    fn breakdown(&self) -> Vec<Rule> {
        let mut parts = Vec::new();
        let names: Vec<Vec<String>> = match self.resource_names.as_slice() {
            [] => vec![Vec::new()],
            names => names.iter().map(|name| vec![name.clone()]).collect(),
        };
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    parts.extend(names.iter().map(|name| Rule {
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: name.clone(),
                        verbs: vec![verb.clone()],
                        ..Rule::default()
                    }));
                }
            }
        }
        for url in &self.non_resource_urls {
            parts.extend(self.verbs.iter().map(|verb| Rule {
                non_resource_urls: vec![url.clone()],
                verbs: vec![verb.clone()],
                ..Rule::default()
            }));
        }
        parts
    }

    /// True when this rule grants at least what `part` (from [`Rule::breakdown`]) grants.
    fn covers(&self, part: &Rule) -> bool {
        let all = |set: &[String], wanted: &[String]| {
            has(set, "*") || wanted.iter().all(|item| has(set, item))
        };
        all(&self.verbs, &part.verbs)
            && all(&self.api_groups, &part.api_groups)
            && part.resources.iter().all(|resource| {
                star_or(&self.resources, resource)
                    || resource.split_once('/').is_some_and(|(_, sub)| {
                        self.resources
                            .iter()
                            .any(|r| r.strip_prefix("*/") == Some(sub))
                    })
            })
            && part.non_resource_urls.iter().all(|url| {
                self.non_resource_urls
                    .iter()
                    .any(|own| url_covers(own, url))
            })
            && (self.resource_names.is_empty()
                || !part.resource_names.is_empty()
                    && part
                        .resource_names
                        .iter()
                        .all(|name| has(&self.resource_names, name)))
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
fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*'))
}

fn url_covers(owner: &str, wanted: &str) -> bool {
    url_matches(owner, wanted)
}

/// The parts of `wanted` that `held` does not grant, one verb and resource each.
pub fn missing<'r>(held: impl Iterator<Item = &'r Rule> + Clone, wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(Rule::breakdown);
    parts
        .filter(|part| !held.clone().any(|rule| rule.covers(part)))
        .collect()
}

/// Joins the verbs of parts that differ in nothing else, in the order of first appearance.
pub fn join_verbs(parts: Vec<Rule>) -> Vec<Rule> {
    let mut joined: Vec<Rule> = Vec::new();
    let mut places: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    for part in parts {
        let key = Rule {
            verbs: Vec::new(),
            ..part.clone()
        }
        .compact();
        match places.get(key.as_str()) {
            Some(&at) => joined[at].verbs.extend(part.verbs),
            None => {
                places.insert(key.into(), joined.len());
                joined.push(part);
            }
        }
    }
    joined
}
