//! `matchLabelKeys` and `mismatchLabelKeys` of rules about other pods: they become part of the selector when a pod is made,
//! with the values that its labels have then.

use knarr_meta::object::list_at;
use serde_json::{Value, json};

/// Merges the keys of every affinity term and spread constraint into its selector (upstream `mutatePodAffinity`,
/// `mutateTopologySpreadConstraints`).
pub fn merge(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let constraints = pod.pointer_mut("/spec/topologySpreadConstraints");
    for constraint in constraints
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        merge_term(constraint, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = pod.pointer_mut(&format!("/spec/affinity/{kind}"));
        let Some(affinity) = affinity else {
            continue;
        };
        let required = affinity.get_mut("requiredDuringSchedulingIgnoredDuringExecution");
        for term in required.and_then(Value::as_array_mut).into_iter().flatten() {
            merge_term(term, &labels);
        }
        let preferred = affinity.get_mut("preferredDuringSchedulingIgnoredDuringExecution");
        for term in preferred
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                merge_term(term, &labels);
            }
        }
    }
}

/// A term without a selector selects nothing, with keys too.
fn merge_term(term: &mut Value, labels: &Value) {
    let mut merged = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in list_at(term, &[field]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels[key].as_str() {
                merged.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    if let Some(selector) = selector.filter(|_| !merged.is_empty()) {
        let all = selector
            .entry("matchExpressions")
            .or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.extend(merged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(term: Value) -> Value {
        let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        let mut pod = json!({"metadata": {"labels": {"app": "web", "version": "2"}},
            "spec": {"affinity": {"podAntiAffinity": rules}}});
        merge(&mut pod);
        let path = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector";
        pod.pointer(path).cloned().unwrap_or_default()
    }

    #[test]
    fn keys_become_part_of_the_selector() {
        let is = |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
        let found = merged(json!({"labelSelector": {"matchLabels": {"app": "web"}},
            "matchLabelKeys": ["version", "missing"], "mismatchLabelKeys": ["app"]}));
        let expressions = [is("version", "In", "2"), is("app", "NotIn", "web")];
        assert_eq!(
            found,
            json!({"matchLabels": {"app": "web"}, "matchExpressions": expressions})
        );
        let found = merged(
            json!({"labelSelector": {"matchExpressions": [is("a", "In", "b")]}, "matchLabelKeys": ["version"]}),
        );
        let expressions = [is("a", "In", "b"), is("version", "In", "2")];
        assert_eq!(found, json!({"matchExpressions": expressions}));
    }

    #[test]
    fn what_has_no_selector_or_no_such_label_stays() {
        assert_eq!(merged(json!({"matchLabelKeys": ["version"]})), Value::Null);
        let found = merged(json!({"labelSelector": {}, "matchLabelKeys": ["missing"]}));
        assert_eq!(found, json!({}));
    }

    #[test]
    fn spread_constraints_are_merged_too() {
        let constraint = json!({"labelSelector": {}, "matchLabelKeys": ["app"]});
        let mut pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [constraint]}});
        merge(&mut pod);
        let path = "/spec/topologySpreadConstraints/0/labelSelector/matchExpressions/0";
        let expected = json!({"key": "app", "operator": "In", "values": ["web"]});
        assert_eq!(pod.pointer(path), Some(&expected));
    }

    #[test]
    fn preferred_terms_are_merged_too() {
        let term = json!({"labelSelector": {}, "matchLabelKeys": ["app"]});
        let rules = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]});
        let mut pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"affinity": {"podAffinity": rules}}});
        merge(&mut pod);
        let path = "/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm/labelSelector";
        let expected =
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]});
        assert_eq!(pod.pointer(path), Some(&expected));
    }
}
