//! Rules: operations on resources, as upstream's `webhook/predicates/rules`.

use knarr_meta::object::{list_at, str_at};
use serde_json::Value;

use super::request_namespace;
use crate::request::AdmissionRequest;

/// `RuleWithOperations`, or `NamedRuleWithOperations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`.
    resources: Vec<String>,
    /// `*`, `Cluster`, `Namespaced`.
    scope: String,
    /// Empty: all names.
    names: Vec<String>,
}

/// What a rule looks at of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    operation: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespaced: bool,
    name: &'a str,
}

impl<'a> Asked<'a> {
    pub fn of(request: &'a AdmissionRequest<'_>) -> Asked<'a> {
        let (group, version) = match request.alias {
            Some(alias) => (alias.group, alias.version),
            None => (&*request.kind.group, &*request.kind.version),
        };
        // Namespaces are cluster-scoped, although requests for them have a namespace: their own.
        let of_namespaces = group.is_empty() && request.kind.resource == "namespaces";
        Asked {
            operation: request.operation.as_str(),
            group,
            version,
            resource: &request.kind.resource,
            subresource: request.subresource,
            namespaced: !of_namespaces && !request_namespace(request).is_empty(),
            name: request.name,
        }
    }

    /// The same, asked in another version.
    pub fn as_version<'v>(&self, group: &'v str, version: &'v str) -> Asked<'v>
    where
        'a: 'v,
    {
        Asked {
            group,
            version,
            ..*self
        }
    }
}

impl Rule {
    /// The rules in a field of a webhook or of MatchResources.
    pub fn list(value: &Value, field: &str) -> Vec<Rule> {
        list_at(value, &[field]).iter().map(Rule::new).collect()
    }

    fn new(value: &Value) -> Rule {
        let texts = |field| {
            let texts = list_at(value, &[field]).iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: match str_at(value, &["scope"]) {
                "" => "*".to_owned(),
                scope => scope.to_owned(),
            },
            names: texts("resourceNames"),
        }
    }

    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        self.may_match(asked)
            && one_of(&self.groups, asked.group)
            && one_of(&self.versions, asked.version)
    }

    /// Whether it matches some group and version of what is asked for.
    pub(super) fn may_match(&self, asked: &Asked<'_>) -> bool {
        one_of(&self.operations, asked.operation)
            && self.resource(asked)
            && match &*self.scope {
                "*" => true,
                "Namespaced" => asked.namespaced,
                "Cluster" => !asked.namespaced,
                _ => false,
            }
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    fn resource(&self, asked: &Asked<'_>) -> bool {
        self.resources.iter().any(|rule| {
            let (resource, subresource) = rule.split_once('/').unwrap_or((rule, ""));
            let matches = |rule: &str, asked: &str| rule == "*" || rule == asked;
            matches(resource, asked.resource) && matches(subresource, asked.subresource)
        })
    }
}

fn one_of(rule: &[String], asked: &str) -> bool {
    rule.iter().any(|one| one == "*" || one == asked)
}
