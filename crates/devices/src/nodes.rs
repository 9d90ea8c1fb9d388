//! Which nodes a slice, a device or an allocation is for.

use k8s_openapi::api::core::v1::{Node, NodeSelector};
use knarr_meta::node_selector::Term;

/// Whether a node is one of a selector's.
pub fn matches(selector: &NodeSelector, node: &Node) -> bool {
    let mut terms = selector.node_selector_terms.iter();
    terms.any(|term| Term::new(term).matches(node))
}

/// Whether a node is meant: by its name, because all are, or by a selector. What says nothing means none.
pub fn are_meant(
    node: &Node,
    name: Option<&str>,
    all: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match (name.filter(|name| !name.is_empty()), all, selector) {
        (Some(name), _, _) => node.metadata.name.as_deref() == Some(name),
        (None, Some(true), _) => true,
        (None, _, Some(selector)) => matches(selector, node),
        (None, _, None) => false,
    }
}
