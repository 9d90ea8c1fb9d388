use serde_json::json;

use super::*;
use crate::fixtures::object;

fn revision(name: &str) -> Arc<ControllerRevision> {
    Arc::new(object(
        json!({"metadata": {"name": name}, "revision": 1, "data": {"spec": {"template": {
        "$patch": "replace", "metadata": {"labels": {"app": name}}, "spec": {"containers": []}}}}}),
    ))
}

#[test]
fn a_version_is_a_template() {
    let version = version(&revision("a")).expect("a template");
    assert_eq!(version.name, "a");
    assert_eq!(
        serde_json::to_value(&version.template).expect("json"),
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}})
    );
    let broken: ControllerRevision =
        object(json!({"revision": 1, "data": {"spec": {"template": 5}}}));
    assert!(super::version(&broken).is_err());
}

#[test]
fn revisions_beyond_the_limit() {
    let history = ["a", "b", "c", "d"].map(revision);
    for (limit, used, expected) in [
        (4, "", &[][..]),
        (2, "", &["a", "b"]),
        (2, "a", &["b"]),
        (0, "d", &["a", "b", "c"]),
        (-1, "", &[]),
    ] {
        let found = surplus(&history, limit, |name| name == used);
        let names: Vec<_> = found.iter().map(|r| revisions::name(r)).collect();
        assert_eq!(names, expected, "{limit}, {used:?} is used");
    }
}
