use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn role(name: &str, labels: Value, resources: &[&str]) -> Arc<ClusterRole> {
    let rules: Vec<Value> = resources
        .iter()
        .map(|r| json!({"apiGroups": [""], "resources": [r], "verbs": ["get"]}))
        .collect();
    Arc::new(object(
        json!({"metadata": {"name": name, "labels": labels}, "rules": rules}),
    ))
}

fn aggregated(resources: &[&str]) -> ClusterRole {
    let mut role = ClusterRole::clone(&role("view", json!({"to-view": "true"}), resources));
    role.aggregation_rule = Some(object(json!({"clusterRoleSelectors": [
        {"matchLabels": {"to-view": "true"}}, {"matchLabels": {"to-all": "true"}},
    ]})));
    role
}

fn resources(rules: Option<Vec<PolicyRule>>) -> Option<Vec<String>> {
    rules.map(|rules| {
        rules
            .into_iter()
            .flat_map(|rule| rule.resources.unwrap_or_default())
            .collect()
    })
}

#[test]
fn rules_of_all_selected_roles_once_and_in_order_of_names() {
    let roles = [
        role("z", json!({"to-view": "true"}), &["pods", "services"]),
        role("a", json!({"to-all": "true"}), &["secrets", "pods"]),
        role("unrelated", json!({"to-edit": "true"}), &["nodes"]),
        role("view", json!({"to-view": "true"}), &["itself"]),
    ];
    let expected: Vec<String> = ["secrets", "pods", "services"].map(str::to_owned).into();
    assert_eq!(resources(plan(&aggregated(&[]), &roles)), Some(expected));
    assert_eq!(
        resources(plan(&aggregated(&["secrets", "pods", "services"]), &roles)),
        None,
        "it has them"
    );
    assert_eq!(
        resources(plan(&aggregated(&["secrets"]), &[])),
        Some(vec![]),
        "nothing is left to select"
    );
    assert_eq!(resources(plan(&aggregated(&[]), &[])), None);
}
