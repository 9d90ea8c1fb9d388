//! What is dropped of an object as there is nothing in it.

use knarr_meta::field::{Emptied, Error, Path};
use serde_json::{Value, json};

use super::{deployment, strict};

#[test]
fn what_is_dropped_as_it_is_empty_is_remembered() {
    let emptied = Emptied::default();
    let mut object = json!({"spec": {
        "selector": {"matchLabels": {}},
        "template": {
            "metadata": {"labels": {}, "annotations": null},
            "spec": {"containers": [{"name": "a", "env": []}], "nodeSelector": {"a": "b"}},
        },
    }});
    strict::check_noting(deployment(), &mut object, Some(&emptied)).unwrap();
    let template = Path::new("spec").child("template");
    let shown = |path: &Path| {
        let mut errors = [Error::invalid(path, Value::Null, "bad")];
        emptied.show_in(&mut errors);
        errors[0].bad_value.clone().unwrap()
    };
    let (metadata, spec) = (template.child("metadata"), template.child("spec"));
    assert_eq!(shown(&metadata.child("labels")), json!({}));
    assert_eq!(shown(&metadata.child("annotations")), Value::Null);
    assert_eq!(
        shown(&spec.child("containers").index(0).child("env")),
        json!([])
    );
    assert_eq!(shown(&spec.child("nodeSelector")), Value::Null);
}

#[test]
fn forms_that_go_has_of_its_own_are_remembered_where_they_are_in_lists() {
    let emptied = Emptied::default();
    let field = |divisor: Value| json!({"resource": "limits.cpu", "divisor": divisor});
    let env = |name: &str, reference: Value| json!({"name": name, "valueFrom": {"resourceFieldRef": reference}});
    let mut object = json!({"spec": {
        "selector": {"matchLabels": {}},
        "template": {"spec": {"containers": [{
            "name": "a",
            "args": [],
            "env": [
                env("none", json!({"resource": "limits.cpu"})),
                env("null", field(Value::Null)),
                env("other", field(json!("1000m"))),
                env("number", field(json!(1))),
                env("same", field(json!("1"))),
                env("zero", field(json!("0"))),
            ],
        }]}},
    }});
    strict::check_noting(deployment(), &mut object, Some(&emptied)).unwrap();
    let container = "/spec/template/spec/containers/0";
    let divisor =
        |index: usize| format!("{container}/env/{index}/valueFrom/resourceFieldRef/divisor");
    let mut forms = emptied.forms();
    forms.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    let found: Vec<_> = forms
        .into_iter()
        .map(|form| (form.pointer, form.asked))
        .collect();
    let wanted = [
        (format!("{container}/args"), Some(json!([]))),
        (divisor(0), None),
        (divisor(1), None),
        (divisor(2), Some(json!("1000m"))),
    ];
    assert_eq!(found, wanted);
    // Those of the next object are in their place.
    let mut object = json!({"spec": {"selector": {}}});
    strict::check_noting(deployment(), &mut object, Some(&emptied)).unwrap();
    assert_eq!(emptied.forms(), []);
}
