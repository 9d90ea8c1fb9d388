//! What extenders answer (`k8s.io/kube-scheduler/extender/v1`). Names of fields are of any case, as Go reads them.

use std::collections::HashMap;

use serde_json::Value;

use crate::framework::Reason;

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The extender says so.
    Said(String),
    /// It is of another form.
    Form(String),
}

/// Which nodes are left, and why others are not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub nodes: Vec<String>,
    /// With whether the end of pods would help.
    pub refused: HashMap<String, (Reason, bool)>,
}

/// Who ends on a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Victims {
    pub uids: Vec<String>,
    pub violations: usize,
}

/// A field, whatever the case of its name; null is none.
fn field<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = of.as_object()?;
    let exact = fields.get(name);
    let mut any = fields
        .iter()
        .filter(|(field, _)| field.eq_ignore_ascii_case(name));
    let found = exact.or_else(|| any.next().map(|(_, value)| value))?;
    (!found.is_null()).then_some(found)
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    field(of, name).and_then(Value::as_str).unwrap_or_default()
}

fn form(what: &str) -> Wrong {
    Wrong::Form(format!("{what} is of another form"))
}

/// Whether nothing went wrong.
pub fn error(answer: &Value) -> Result<(), Wrong> {
    match text(answer, "Error") {
        "" => Ok(()),
        why => Err(Wrong::Said(why.to_owned())),
    }
}

/// Reads an `ExtenderFilterResult`.
pub fn filter(answer: &Value) -> Result<Filter, Wrong> {
    error(answer)?;
    let mut found = Filter::default();
    if let Some(names) = field(answer, "NodeNames") {
        let names = names.as_array().ok_or_else(|| form("NodeNames"))?;
        for name in names {
            let name = name.as_str().ok_or_else(|| form("NodeNames"))?;
            found.nodes.push(name.to_owned());
        }
    } else if let Some(nodes) = field(answer, "Nodes") {
        let items = field(nodes, "items").and_then(Value::as_array);
        for node in items.into_iter().flatten() {
            let name = field(node, "metadata").map(|metadata| text(metadata, "name"));
            let name = name.ok_or_else(|| form("Nodes"))?;
            found.nodes.push(name.to_owned());
        }
    }
    // What is in both cannot be helped.
    for (name, resolvable) in [("FailedNodes", true), ("FailedAndUnresolvableNodes", false)] {
        let failed = field(answer, name).and_then(Value::as_object);
        for (node, why) in failed.into_iter().flatten() {
            let why = why.as_str().ok_or_else(|| form(name))?.to_owned();
            found.refused.insert(node.clone(), (why.into(), resolvable));
        }
    }
    Ok(found)
}

/// Reads a `HostPriorityList`.
pub fn priorities(answer: &Value) -> Result<Vec<(String, i64)>, Wrong> {
    let list = answer.as_array().ok_or_else(|| form("HostPriorityList"))?;
    let one = |entry: &Value| {
        let score = match field(entry, "Score") {
            None => 0,
            Some(score) => score.as_i64().ok_or_else(|| form("Score"))?,
        };
        Ok((text(entry, "Host").to_owned(), score))
    };
    list.iter().map(one).collect()
}

/// Reads an `ExtenderPreemptionResult`: the victims on each node.
pub fn victims(answer: &Value) -> Result<HashMap<String, Victims>, Wrong> {
    let name = "NodeNameToMetaVictims";
    let Some(nodes) = field(answer, name) else {
        return Ok(HashMap::new());
    };
    let nodes = nodes.as_object().ok_or_else(|| form(name))?;
    let mut all = HashMap::new();
    for (node, victims) in nodes {
        let pods = field(victims, "Pods").and_then(Value::as_array);
        let pods = pods.into_iter().flatten();
        let violations = field(victims, "NumPDBViolations").and_then(Value::as_u64);
        let victims = Victims {
            uids: pods.map(|pod| text(pod, "UID").to_owned()).collect(),
            violations: violations.unwrap_or(0).try_into().unwrap_or(usize::MAX),
        };
        all.insert(node.clone(), victims);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_name_nodes_or_hold_them() {
        let names = |answer: &Value| filter(answer).map(|filter| filter.nodes);
        let cases = [
            (json!({"NodeNames": ["a", "b"]}), Ok(vec!["a", "b"])),
            (json!({"nodenames": ["a"]}), Ok(vec!["a"])),
            (
                json!({"Nodes": {"items": [{"metadata": {"name": "a"}}]}}),
                Ok(vec!["a"]),
            ),
            (
                json!({"Nodes": null, "NodeNames": null, "Error": ""}),
                Ok(vec![]),
            ),
            (json!({"Error": "no"}), Err(Wrong::Said("no".to_owned()))),
            (json!({"NodeNames": [1]}), Err(form("NodeNames"))),
        ];
        for (answer, wanted) in cases {
            let wanted =
                wanted.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(names(&answer), wanted, "{answer}");
        }
    }

    #[test]
    fn who_is_refused_for_good_is_not_refused_otherwise() {
        let answer = json!({
            "FailedNodes": {"a": "full", "b": "full"}, "FailedAndUnresolvableNodes": {"b": "never"},
        });
        let refused = filter(&answer).map(|filter| filter.refused);
        let wanted = HashMap::from([
            ("a".to_owned(), ("full".into(), true)),
            ("b".to_owned(), ("never".into(), false)),
        ]);
        assert_eq!(refused, Ok(wanted));
    }

    #[test]
    fn scores_and_victims() {
        let scores = priorities(&json!([{"Host": "a", "Score": 7}, {"host": "b"}]));
        assert_eq!(scores, Ok(vec![("a".to_owned(), 7), ("b".to_owned(), 0)]));
        assert_eq!(priorities(&json!({})), Err(form("HostPriorityList")));
        let answer = json!({"NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "1"}], "NumPDBViolations": 2}}});
        let wanted = Victims {
            uids: vec!["1".to_owned()],
            violations: 2,
        };
        assert_eq!(
            victims(&answer),
            Ok(HashMap::from([("a".to_owned(), wanted)]))
        );
    }
}
