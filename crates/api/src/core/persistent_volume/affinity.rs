//! How the nodes of a stored volume may change: labels that were renamed once may be said by their new names.

use knarr_meta::object::{at, list_at, str_at};
use serde_json::Value;

use crate::tree;

/// Labels of the cloud's time in beta, and their names since.
const RENAMED: [(&str, &str); 5] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    (
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
    ),
];

/// Whether an affinity means what the stored one does.
pub(super) fn is_kept(now: Option<&Value>, before: &Value) -> bool {
    let mut before = before.clone();
    if let Some(now) = now {
        take_new_names(now, &mut before);
    }
    tree::same(now, Some(&before))
}

/// Gives `before` the keys of `now` where they are new names of its own.
fn take_new_names(now: &Value, before: &mut Value) {
    const TERMS: &[&str] = &["required", "nodeSelectorTerms"];
    let Some(terms) = before
        .pointer_mut("/required/nodeSelectorTerms")
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for (term, new_term) in terms.iter_mut().zip(list_at(now, TERMS)) {
        for list in ["matchExpressions", "matchFields"] {
            let rules = term.get_mut(list).and_then(Value::as_array_mut);
            let rules = rules.into_iter().flatten();
            for (rule, new_rule) in rules.zip(list_at(new_term, &[list])) {
                let key = str_at(new_rule, &["key"]);
                if renamed(str_at(rule, &["key"])) == key
                    && let Some(rule) = rule.as_object_mut()
                {
                    let key = at(new_rule, &["key"]).cloned().unwrap_or_default();
                    rule.insert("key".to_owned(), key);
                }
            }
        }
    }
}

/// "" for labels that keep their name: upstream lets a key go, whose absence is told elsewhere.
fn renamed(key: &str) -> &'static str {
    let found = RENAMED.iter().find(|(old, _)| *old == key);
    found.map_or("", |(_, new)| new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn affinity(key: &str, value: &str) -> Value {
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": key, "operator": "In", "values": [value]},
        ]}]}})
    }

    #[test]
    fn labels_take_their_new_names() {
        let zone = "topology.kubernetes.io/zone";
        for (now, before, kept) in [
            (affinity("a", "x"), affinity("a", "x"), true),
            (affinity("b", "x"), affinity("a", "x"), false),
            (affinity("", "x"), affinity("a", "x"), true),
            (affinity("", "y"), affinity("a", "x"), false),
            (
                affinity(zone, "x"),
                affinity("failure-domain.beta.kubernetes.io/zone", "x"),
                true,
            ),
            (
                affinity("failure-domain.beta.kubernetes.io/zone", "x"),
                affinity(zone, "x"),
                false,
            ),
            (json!({}), affinity("a", "x"), false),
        ] {
            assert_eq!(is_kept(Some(&now), &before), kept, "{now} {before}");
        }
        assert!(!is_kept(None, &affinity("a", "x")));
    }
}
