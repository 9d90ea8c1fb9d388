use serde_json::json;

use super::*;
use crate::testing::object;

fn topology(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = all.iter();
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn drivers_are_told_of_once() {
    let mut csi_node = fresh("n1", "u");
    let zone = topology(&[("zone", "a"), ("disk", "b")]);
    let limited = entry("d", "id", 5, &zone);
    assert_eq!(
        limited.topology_keys,
        Some(vec!["disk".to_owned(), "zone".to_owned()])
    );
    assert_eq!(limited.allocatable.as_ref().unwrap().count, Some(5));
    assert!(put(&mut csi_node, &limited));
    assert!(!put(&mut csi_node, &limited));
    let huge = entry("d", "id", i64::MAX, &BTreeMap::new());
    assert_eq!(huge.allocatable.as_ref().unwrap().count, Some(i32::MAX));
    assert!(put(&mut csi_node, &huge));
    assert_eq!(csi_node.spec.drivers.len(), 1);
    assert_eq!(entry("d", "id", -1, &zone).allocatable, None);
    assert!(put(&mut csi_node, &entry("e", "id", 0, &zone)));
    assert!(Entry::Remove("d").apply(&mut csi_node));
    assert!(!Entry::Remove("d").apply(&mut csi_node));
    assert_eq!(csi_node.spec.drivers[0].name, "e");
}

#[test]
fn labels_of_others_are_not_overwritten() {
    let node: Node = object(json!({ "metadata": { "name": "n1", "labels": { "zone": "a" } } }));
    let same = topology(&[("zone", "a"), ("rack", "7")]);
    assert_eq!(labels(&node, &same), Ok(BTreeMap::from([("rack", "7")])));
    let other = labels(&node, &topology(&[("zone", "b")])).unwrap_err();
    assert_eq!(
        other,
        "detected topology value collision: driver reported \"zone\":\"b\" but existing label is \"zone\":\"a\""
    );
}

#[test]
fn the_annotation_holds_every_drivers_name_for_the_node() {
    let node = |text: &str| -> Node {
        object(json!({ "metadata": { "annotations": { NODE_IDS: text } } }))
    };
    let text = |text: &str| Ok(Some(Some(text.to_owned())));
    let (none, one) = (node(""), node(r#"{"d":"n"}"#));
    assert_eq!(ids(&none, "d", Some("n")), text(r#"{"d":"n"}"#));
    assert_eq!(ids(&one, "d", Some("n")), Ok(None));
    assert_eq!(ids(&one, "e", Some("m")), text(r#"{"d":"n","e":"m"}"#));
    assert_eq!(ids(&one, "d", None), Ok(Some(None)));
    assert_eq!(ids(&one, "e", None), Ok(None));
    assert!(ids(&node("{"), "d", None).is_err());
}
