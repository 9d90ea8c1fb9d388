//! Decisions about definitions, as tables.

use expect_test::{Expect, expect};
use knarr_api::apiextensions::custom_resource_definition::condition;
use serde_json::json;

use super::*;

fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short,
        }},
        "status": {"acceptedNames": {"plural": "", "kind": ""}, "conditions": [], "storedVersions": ["v1"]},
    })
}

/// Decides for each in turn, as the task does: a line a definition.
fn check(definitions: Vec<Value>, expected: Expect) {
    let name = |one: &Value| object::name(one).to_owned();
    let mut all: Facts = definitions
        .iter()
        .map(|one| (name(one), Arc::new(one.clone())))
        .collect();
    let mut lines = Vec::new();
    for mut one in definitions {
        decide(&mut one, &all);
        let told = |of: Condition| match condition(&one, of) {
            Some(found) => format!(
                "{}={} {}: {}",
                of.as_str(),
                found["status"],
                found["reason"],
                found["message"]
            ),
            None => format!("no {}", of.as_str()),
        };
        let accepted = &one["status"]["acceptedNames"];
        lines.push(format!(
            "{}\n  {}\n  {}\n  {accepted}",
            name(&one),
            told(Condition::NamesAccepted),
            told(Condition::Established)
        ));
        all.insert(name(&one), Arc::new(one));
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn the_first_has_the_name() {
    check(
        vec![
            definition("widgets", "Widget", &["wd"]),
            definition("wydgets", "Widget", &["wd", "wy"]),
        ],
        expect![[r#"
            widgets.example.com
              NamesAccepted="True" "NoConflicts": "no conflicts found"
              Established="True" "InitialNamesAccepted": "the initial names have been accepted"
              {"kind":"Widget","listKind":"WidgetList","plural":"widgets","shortNames":["wd"],"singular":"widget"}
            wydgets.example.com
              NamesAccepted="False" "ListKindConflict": "\"WidgetList\" is already in use"
              Established="False" "NotAccepted": "not all names are accepted"
              {"kind":"","plural":"wydgets"}"#]],
    );
}

#[test]
fn protected_groups_tell_their_approval() {
    let mut one = definition("widgets", "Widget", &[]);
    one["spec"]["group"] = json!("x.k8s.io");
    one["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a test"});
    decide(&mut one, &BTreeMap::new());
    let found = condition(&one, Condition::ApprovalPolicyConformant).expect("a condition");
    assert_eq!(
        (&found["status"], &found["reason"]),
        (&json!("False"), &json!("UnapprovedAnnotation"))
    );
    assert!(is_true(&one, Condition::Established));
}

#[test]
fn what_is_decided_stays_decided() {
    let mut one = definition("widgets", "Widget", &[]);
    decide(&mut one, &BTreeMap::new());
    let mut again = one.clone();
    decide(
        &mut again,
        &[("widgets.example.com".to_owned(), Arc::new(one.clone()))].into(),
    );
    assert_eq!(again, one);
}

#[test]
fn conditions_that_somebody_writes_stay_where_the_names_do() {
    let mut one = definition("widgets", "Widget", &[]);
    decide(&mut one, &BTreeMap::new());
    one["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut again = one.clone();
    decide(&mut again, &BTreeMap::new());
    assert_eq!(again, one);
}
