//! Selectors of nodes, in pods' affinities and in volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use crate::labels::{Operator, Requirement, Selector};

/// Where a pod must go: its `nodeSelector`, and what its affinity requires of nodes.
#[derive(Debug)]
pub struct RequiredNodes {
    selector: Selector,
    /// Any of them; `None`: no rule.
    terms: Option<Vec<Term>>,
}

impl RequiredNodes {
    /// Reads the rules of a pod.
    pub fn new(spec: &PodSpec) -> Self {
        let affinity = spec.affinity.as_ref();
        let nodes = affinity.and_then(|a| a.node_affinity.as_ref());
        let required = nodes.and_then(|n| {
            n.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        Self {
            selector: Selector::from_set(spec.node_selector.clone().unwrap_or_default()),
            terms: required.map(|r| r.node_selector_terms.iter().map(Term::new).collect()),
        }
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    /// The names of the only nodes that can match, where every term names its nodes; `None` where others can.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        let terms = self.terms.as_deref().filter(|terms| !terms.is_empty())?;
        let mut all = BTreeSet::new();
        for term in terms {
            all.extend(term.node_names()?);
        }
        Some(all)
    }

    /// Whether the pod may be on the node, as far as these rules go.
    pub fn matches(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let terms_match = |terms: &Vec<Term>| terms.iter().any(|term| term.matches(node));
        self.selector.matches_option(labels) && self.terms.as_ref().is_none_or(terms_match)
    }
}

/// A term: all of its expressions and fields.
#[derive(Debug)]
pub struct Term {
    labels: Vec<Requirement>,
    /// Only `metadata.name` is a field.
    names: Vec<Requirement>,
    /// A term without requirements, or with an unreadable one, matches nothing.
    never: bool,
}

impl Term {
    /// Reads a term.
    pub fn new(term: &NodeSelectorTerm) -> Self {
        let read = |list: &Option<Vec<NodeSelectorRequirement>>| -> Vec<Option<Requirement>> {
            list.iter().flatten().map(requirement).collect()
        };
        let labels = read(&term.match_expressions);
        let fields = read(&term.match_fields);
        let never = (labels.is_empty() && fields.is_empty())
            || labels.iter().chain(&fields).any(Option::is_none);
        Self {
            labels: labels.into_iter().flatten().collect(),
            names: fields.into_iter().flatten().collect(),
            never,
        }
    }

    /// The names that all its `In` requirements of `metadata.name` list; `None` where it has none.
    fn node_names(&self) -> Option<BTreeSet<String>> {
        let listing = |r: &&Requirement| r.operator() == Operator::In && r.key() == "metadata.name";
        let lists = self.names.iter().filter(listing);
        let sets = lists.map(|r| r.values().iter().cloned().collect::<BTreeSet<_>>());
        sets.reduce(|all, these| &all & &these)
    }

    /// Whether a node has all that the term asks for.
    pub fn matches(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
        let name_fits = |r: &Requirement| r.key() == "metadata.name" && r.matches(Some(name));
        !self.never
            && self.labels.iter().all(|r| r.matches(label(r.key())))
            && self.names.iter().all(name_fits)
    }
}

fn requirement(from: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match from.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(
        from.key.as_str(),
        operator,
        from.values.clone().unwrap_or_default(),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(terms: serde_json::Value) -> Option<Vec<String>> {
        let spec = json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        RequiredNodes::new(&spec)
            .names()
            .map(|names| names.into_iter().collect())
    }

    #[test]
    fn terms_that_all_name_their_nodes_leave_no_others() {
        let named =
            |values: &[&str]| json!({"key": "metadata.name", "operator": "In", "values": values});
        let label = json!({"key": "disk", "operator": "Exists"});
        let of = |fields: &[serde_json::Value]| json!({"matchFields": fields});
        assert_eq!(
            names(json!([of(&[named(&["a"])])])),
            Some(vec!["a".to_owned()])
        );
        let two = names(json!([of(&[named(&["a"])]), of(&[named(&["b"])])]));
        assert_eq!(two, Some(vec!["a".to_owned(), "b".to_owned()]));
        let conflict = names(json!([of(&[named(&["a"]), named(&["b"])])]));
        assert_eq!(conflict, Some(Vec::new()));
        let open = names(json!([of(&[named(&["a"])]), {"matchExpressions": [label]}]));
        assert_eq!(open, None);
        assert_eq!(names(json!([])), None);
    }
}
