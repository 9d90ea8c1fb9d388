use serde_json::json;

use super::*;

fn pod(uid: &str, nominated: Option<&str>) -> Arc<PodInfo> {
    let value = json!({"metadata": {"uid": uid, "name": uid}, "spec": {"containers": []},
        "status": {"nominatedNodeName": nominated}});
    Arc::new(PodInfo::new(&Arc::new(
        serde_json::from_value(value).expect("a pod"),
    )))
}

#[test]
fn a_pod_is_nominated_to_one_node() {
    let mut nominated = Nominated::default();
    nominated.set(pod("p", None), "a");
    nominated.set(pod("q", None), "a");
    nominated.set(pod("p", None), "b");
    assert_eq!(nominated.to("a").len(), 1);
    assert_eq!(nominated.node_of("p"), Some("b"));
    let removed = nominated
        .remove("p")
        .map(|(pod, node)| (pod.uid.clone(), node));
    assert_eq!(removed, Some(("p".to_owned(), "b".to_owned())));
    assert!(nominated.to("b").is_empty() && nominated.remove("p").is_none());
}

#[test]
fn the_status_is_followed_once_it_has_spoken() {
    // What is known, the status before and now; what is known then, and what was given up.
    let rows = [
        (None, None, Some("a"), Some("a"), None),
        (Some("a"), None, None, Some("a"), None),
        (Some("a"), None, Some("a"), Some("a"), None),
        (Some("a"), Some("a"), None, None, Some("a")),
        (Some("a"), Some("a"), Some("b"), Some("b"), Some("a")),
        (None, Some("a"), Some("a"), Some("a"), None),
    ];
    for (known, before, now, expected, given_up) in rows {
        let mut nominated = Nominated::default();
        if let Some(node) = known {
            nominated.set(pod("p", before), node);
        }
        let freed = nominated.update(before, &pod("p", now));
        assert_eq!(freed.map(|(_, node)| node).as_deref(), given_up);
        assert_eq!(
            nominated.node_of("p"),
            expected,
            "{known:?} {before:?} {now:?}"
        );
    }
}
