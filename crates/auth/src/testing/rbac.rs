//! Roles and bindings in few words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Fake;
use crate::authz::{rbac::GROUP, rules::Rule};

fn strings(list: &str) -> Vec<String> {
    list.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            if item == "core" {
                String::new()
            } else {
                item.into()
            }
        })
        .collect()
}

/// `verbs groups resources [names]` or `verbs url paths`.
pub fn rule(text: &str) -> Rule {
    match text.split(' ').collect::<Vec<_>>()[..] {
        [verbs, "url", urls] => Rule {
            verbs: strings(verbs),
            non_resource_urls: strings(urls),
            ..Rule::default()
        },
        [verbs, groups, resources] => Rule {
            verbs: strings(verbs),
            api_groups: strings(groups),
            resources: strings(resources),
            ..Rule::default()
        },
        [verbs, groups, resources, names] => Rule {
            resource_names: strings(names),
            ..rule(&format!("{verbs} {groups} {resources}"))
        },
        _ => panic!("not a rule: {text}"),
    }
}

/// A Role, or a ClusterRole where the namespace is empty, of [`rule`]s.
pub fn role(namespace: &str, name: &str, rules: &[&str]) -> Value {
    let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
    let mut role = json!({"metadata": {"name": name}, "rules": rules});
    if !namespace.is_empty() {
        role["metadata"]["namespace"] = namespace.into();
    }
    role
}

/// `role` is `ClusterRole/name` or `Role/name`, a subject `Kind:[ns/]name`.
pub fn binding(namespace: &str, name: &str, role: &str, subject: &str) -> Value {
    let (kind, role) = role.split_once('/').unwrap();
    let (subject_kind, subject) = subject.split_once(':').unwrap();
    let mut subject_value = json!({"kind": subject_kind, "name": subject});
    if let Some((of, name)) = subject.split_once('/') {
        subject_value = json!({"kind": subject_kind, "namespace": of, "name": name});
    }
    let mut binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": [subject_value],
    });
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = namespace.into();
    }
    binding
}

/// Readers and writers of pods.
pub fn cluster() -> Arc<Fake> {
    let fake = Fake::new();
    fake.put(
        GROUP,
        "clusterroles",
        role("", "reader", &["get,list core pods", "get url /metrics"]),
    );
    fake.put(
        GROUP,
        "roles",
        role("blue", "writer", &["create core pods"]),
    );
    fake.put(
        GROUP,
        "clusterrolebindings",
        binding("", "ann-reads", "ClusterRole/reader", "User:ann"),
    );
    fake.put(
        GROUP,
        "rolebindings",
        binding("blue", "devs-write", "Role/writer", "Group:devs"),
    );
    fake.put(
        GROUP,
        "rolebindings",
        binding(
            "blue",
            "bot-reads",
            "ClusterRole/reader",
            "ServiceAccount:green/bot",
        ),
    );
    fake
}
