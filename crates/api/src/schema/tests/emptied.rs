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
