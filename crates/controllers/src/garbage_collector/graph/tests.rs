use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, object};

fn kind(group: &str, kind: &str, namespaced: bool) -> Arc<ServedResource> {
    let api = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{group}/v1")
        },
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Arc::new(ServedResource {
        api,
        namespaced,
        verbs: Vec::new(),
    })
}

fn metadata(name: &str, owners: &[(&str, bool)], more: Value) -> Metadata {
    let references: Vec<Value> = owners
        .iter()
        .map(|(owner, block)| {
            json!({"apiVersion": "v1", "kind": "Thing", "name": owner, "uid": format!("uid-{owner}"), "blockOwnerDeletion": block})
        })
        .collect();
    let mut metadata = json!({"namespace": "x", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1",
        "ownerReferences": references});
    merge(&mut metadata, more);
    object(metadata)
}

struct Test {
    graph: Graph,
    thing: Arc<ServedResource>,
}

impl Test {
    fn new() -> Self {
        Self {
            graph: Graph::default(),
            thing: kind("", "Thing", true),
        }
    }

    fn put(&mut self, name: &str, owners: &[(&str, bool)], more: Value) -> Vec<String> {
        let work = self
            .graph
            .upsert(&self.thing, &metadata(name, owners, more));
        texts(work)
    }

    fn remove(&mut self, name: &str) -> Vec<String> {
        texts(self.graph.remove(&format!("uid-{name}")))
    }

    fn node(&self, name: &str) -> &Node {
        self.graph.get(&format!("uid-{name}")).expect("a node")
    }

    fn is_held(&self, name: &str) -> bool {
        self.graph.is_held(self.node(name))
    }
}

fn texts(work: Vec<Work>) -> Vec<String> {
    let mut texts: Vec<String> = work
        .iter()
        .map(|work| work.to_string().replace("uid-", ""))
        .collect();
    texts.sort();
    texts.dedup();
    texts
}

fn deleting(finalizer: &str) -> Value {
    json!({"deletionTimestamp": "2030-01-01T12:00:00Z", "finalizers": [finalizer]})
}

const NONE: [&str; 0] = [];

#[test]
fn an_owner_seen_first_holds_its_dependents() {
    let mut t = Test::new();
    assert_eq!(t.put("owner", &[], json!({})), NONE);
    t.put("child", &[("owner", true)], json!({}));
    assert!(t.is_held("child"));
    assert_eq!(
        t.put("child", &[("owner", true)], json!({"resourceVersion": "2"})),
        NONE,
        "nothing that matters changed"
    );
    assert_eq!(t.remove("owner"), ["delete child"]);
    assert!(!t.is_held("child"), "only a live look can tell now");
    assert_eq!(t.remove("child"), NONE);
}

#[test]
fn an_owner_seen_late_is_looked_for() {
    let mut t = Test::new();
    assert_eq!(
        t.put("child", &[("owner", true)], json!({})),
        ["delete child", "delete owner"]
    );
    assert!(t.node("owner").resource.is_none() && !t.is_held("child"));
    assert_eq!(texts(t.graph.unseen()), ["delete owner"]);
    t.put("owner", &[], json!({}));
    assert!(t.is_held("child"));
    assert!(t.graph.unseen().is_empty());
}

#[test]
fn an_owner_that_never_was_is_forgotten_with_its_last_reference() {
    let mut t = Test::new();
    t.put("a", &[("ghost", false)], json!({}));
    t.put("b", &[("ghost", false)], json!({}));
    t.remove("a");
    assert!(t.graph.get("uid-ghost").is_some());
    t.put("b", &[], json!({}));
    assert!(t.graph.get("uid-ghost").is_none());
}

#[test]
fn foreground_deletion_asks_for_all_dependents_and_ends_with_the_last() {
    let mut t = Test::new();
    t.put("owner", &[], json!({}));
    t.put("blocking", &[("owner", true)], json!({}));
    t.put("loose", &[("owner", false)], json!({}));
    assert_eq!(
        t.put("owner", &[], deleting(FOREGROUND)),
        ["delete blocking", "delete loose", "delete owner"]
    );
    assert!(!t.is_held("blocking") && t.node("owner").deleting_dependents);
    let blocking = t.graph.blocking_dependents("uid-owner");
    assert_eq!(
        blocking
            .iter()
            .map(|(uid, _)| uid.to_string())
            .collect::<Vec<_>>(),
        ["uid-blocking"]
    );
    assert_eq!(t.remove("blocking"), ["delete owner"]);
    assert!(t.graph.blocking_dependents("uid-owner").is_empty());
}

#[test]
fn a_dependent_that_stops_blocking_lets_its_owner_go() {
    let mut t = Test::new();
    t.put("owner", &[], deleting(FOREGROUND));
    t.put("child", &[("owner", true)], json!({}));
    assert_eq!(
        t.put("child", &[("owner", false)], json!({})),
        ["delete owner"]
    );
    t.put("child", &[("owner", true)], json!({}));
    assert_eq!(t.put("child", &[], json!({})), ["delete owner"]);
}

#[test]
fn orphaning_is_asked_for() {
    let mut t = Test::new();
    t.put("owner", &[], json!({}));
    assert_eq!(
        t.put("owner", &[], json!({"finalizers": [ORPHAN]})),
        NONE,
        "it is not being deleted"
    );
    assert_eq!(t.put("owner", &[], deleting(ORPHAN)), ["orphan owner"]);
}

#[test]
fn a_reference_counts_only_if_it_describes_the_owner() {
    let mut t = Test::new();
    let cluster = kind("", "Thing", false);
    let other_kind = kind("apps", "Thing", true);
    t.put("child", &[("owner", true)], json!({}));
    for (resource, more, held) in [
        (t.thing.clone(), json!({}), true),
        (t.thing.clone(), json!({"namespace": "y"}), false),
        (t.thing.clone(), json!({"name": "renamed"}), false),
        (other_kind, json!({}), false),
        (cluster, json!({"namespace": ""}), true),
    ] {
        let mut owner = metadata("owner", &[], json!({}));
        let with = |metadata: &mut Metadata, more: &Value| {
            if let Some(namespace) = more["namespace"].as_str() {
                metadata.namespace = namespace.into();
            }
            if let Some(name) = more["name"].as_str() {
                metadata.name = name.into();
            }
        };
        with(&mut owner, &more);
        t.graph.upsert(&resource, &owner);
        assert_eq!(t.is_held("child"), held, "{more}");
    }
}

fn reference(name: &str, more: Value) -> OwnerReference {
    let mut reference =
        json!({"apiVersion": "v1", "kind": "Thing", "name": name, "uid": "uid-owner"});
    merge(&mut reference, more);
    object(reference)
}

fn owned(name: &str, namespace: &str, owner: &OwnerReference) -> Metadata {
    metadata(
        name,
        &[],
        json!({"namespace": namespace, "ownerReferences": [owner]}),
    )
}

/// The first reference describes the owner wrongly: that it is not there says nothing about where it is.
#[test]
fn an_owner_is_looked_for_wherever_a_reference_says() {
    let mut t = Test::new();
    let (wrong, right) = (reference("other", json!({})), reference("owner", json!({})));
    t.graph.upsert(&t.thing, &owned("misled", "x", &wrong));
    t.graph.upsert(&t.thing, &owned("child", "x", &right));
    t.graph.upsert(&t.thing, &owned("foreign", "y", &right));
    let uid: Uid = "uid-owner".into();
    let (work, again) = t.graph.absent(&uid, ("x", &wrong), true);
    assert_eq!(
        (texts(work), again),
        (vec!["delete misled".to_owned()], true)
    );
    let node = t.node("owner");
    let place = (
        node.namespace.to_string(),
        node.reference.clone().expect("a place"),
    );
    assert_eq!(place.1.name, "owner");
    // Another namespace is another place; the dependents are still known to the owner when it is seen.
    let (_, again) = t.graph.absent(&uid, ("y", &right), true);
    assert!(again);
    assert_eq!(
        t.put("owner", &[], json!({})),
        ["delete foreign", "delete misled"]
    );
    assert!(t.is_held("child") && !t.is_held("misled") && !t.is_held("foreign"));
    assert_eq!(
        t.remove("owner"),
        ["delete child", "delete foreign", "delete misled"]
    );
}

#[test]
fn an_owner_that_is_nowhere_is_gone() {
    let mut t = Test::new();
    let right = reference("owner", json!({}));
    t.graph.upsert(&t.thing, &owned("child", "x", &right));
    let (work, again) = t.graph.absent(&"uid-owner".into(), ("x", &right), true);
    assert_eq!(
        (texts(work), again),
        (vec!["delete child".to_owned()], false)
    );
    assert!(t.graph.get("uid-owner").is_none());
    // A verdict that comes late changes nothing.
    t.put("owner", &[], json!({}));
    let (work, again) = t.graph.absent(&"uid-owner".into(), ("x", &right), true);
    assert_eq!((texts(work).len(), again), (0, false));
    assert!(t.graph.get("uid-owner").is_some());
}

#[test]
fn a_reference_that_is_added_and_describes_a_known_owner_wrongly_is_looked_at() {
    let mut t = Test::new();
    t.put("owner", &[], json!({}));
    t.put("child", &[], json!({}));
    let wrong = reference("owner", json!({"kind": "Other"}));
    let work = t.graph.upsert(&t.thing, &owned("child", "x", &wrong));
    assert_eq!(texts(work), ["delete child"]);
}

/// Objects of a kind that is served no longer are not gone, and those that are when it comes back are noticed.
#[test]
fn a_kind_that_is_not_served_keeps_its_dependents() {
    let mut t = Test::new();
    t.put("owner", &[], json!({}));
    t.put("child", &[("owner", true)], json!({}));
    t.graph.unobserve("uid-owner");
    assert_eq!(texts(t.graph.unseen()), ["delete owner"]);
    assert!(t.node("owner").dependents.contains("uid-child"));
    assert_eq!(
        t.node("owner").reference.as_ref().map(|r| r.name.as_str()),
        Some("owner")
    );
    t.put("owner", &[], json!({}));
    assert!(t.is_held("child") && t.graph.unseen().is_empty());
    t.graph.unobserve("uid-owner");
    let reference = t.node("owner").reference.clone().expect("a place");
    let (work, _) = t
        .graph
        .absent(&"uid-owner".into(), ("x", &*reference), true);
    assert_eq!(texts(work), ["delete child"]);
}
