use knarr_client::fake;
use serde_json::json;

use super::*;
use crate::exchange::{accepted, failed, reconcile};
use crate::fixtures::object;

#[test]
fn written_when_missing_or_different() {
    let created = plan("x", "PEM", None).expect("a write");
    assert_eq!(
        created
            .data
            .as_ref()
            .and_then(|data| data.get("ca.crt"))
            .map(String::as_str),
        Some("PEM")
    );
    assert_eq!(created.metadata.namespace.as_deref(), Some("x"));
    assert!(plan("x", "PEM", Some(&created)).is_none());
    let rotated = plan("x", "NEW", Some(&created)).expect("a write");
    assert_eq!(
        rotated
            .data
            .and_then(|data| data.get("ca.crt").cloned())
            .as_deref(),
        Some("NEW")
    );
    let mut extended = created;
    extended
        .data
        .get_or_insert_default()
        .insert("more".to_owned(), "x".to_owned());
    assert_eq!(
        plan("x", "PEM", Some(&extended))
            .and_then(|map| map.data)
            .map_or(0, |data| data.len()),
        1
    );
}

#[test]
fn a_description_is_kept_and_one_that_is_gone_comes_back() {
    let created = plan("x", "PEM", None).expect("a write");
    for (text, expected) in [
        (None, Some(DESCRIPTION_TEXT)),
        (Some(""), Some(DESCRIPTION_TEXT)),
        (Some("ours"), None),
    ] {
        let mut map = created.clone();
        let annotations = map.metadata.annotations.get_or_insert_default();
        annotations.remove(DESCRIPTION);
        annotations.extend(text.map(|text| (DESCRIPTION.to_owned(), text.to_owned())));
        let written = plan("x", "PEM", Some(&map));
        let written = written.and_then(|map| map.metadata.annotations?.remove(DESCRIPTION));
        assert_eq!(written.as_deref(), expected, "{text:?}");
    }
}

#[tokio::test]
async fn active_namespaces_have_the_certificate() {
    let there = |data: &str| json!({"metadata": {"namespace": "x", "name": CONFIG_MAP}, "data": {"ca.crt": data}});
    for (what, phase, map, expected) in [
        ("new", "Active", None, Some("POST")),
        (
            "changed by hand",
            "Active",
            Some(there("mine")),
            Some("PUT"),
        ),
        (
            "without a description",
            "Active",
            Some(there("PEM")),
            Some("PUT"),
        ),
        ("ending", "Terminating", None, None),
        ("ending, changed", "Terminating", Some(there("mine")), None),
    ] {
        let (client, mut server) = fake::client();
        let controller = RootCaPublisher {
            client,
            pem: "PEM".to_owned(),
            namespaces: Informer::new(),
            config_maps: Informer::new(),
            queue: WorkQueue::new(),
        };
        controller.namespaces.apply(object(
            json!({"metadata": {"name": "x"}, "status": {"phase": phase}}),
        ));
        if let Some(map) = map {
            controller.config_maps.apply(object(map));
        }
        let key = Key::new("", "x");
        let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
        let again = result.is_err_and(|error| error.is_race());
        assert_eq!(again, expected == Some("POST"), "{what}");
        let methods: Vec<&str> = asked.iter().map(|asked| &*asked.method).collect();
        assert_eq!(methods, expected.as_slice(), "{what}");
        for asked in asked {
            assert_eq!(asked.body["data"], json!({"ca.crt": "PEM"}), "{what}");
        }
    }
}

#[tokio::test]
async fn a_namespace_that_ends_meanwhile_is_let_go() {
    let (client, mut server) = fake::client();
    let controller = RootCaPublisher {
        client,
        pem: "PEM".to_owned(),
        namespaces: Informer::new(),
        config_maps: Informer::new(),
        queue: WorkQueue::new(),
    };
    controller
        .namespaces
        .apply(object(json!({"metadata": {"name": "x"}})));
    let ending = |_: &_| {
        let (code, mut status) = failed(403, "Forbidden");
        status["details"] =
            json!({"causes": [{"reason": "NamespaceTerminating", "message": "it ends"}]});
        (code, status)
    };
    let key = Key::new("", "x");
    let (result, _) = reconcile(&controller, &key, &mut server, ending).await;
    assert!(result.is_err_and(|error| error.is_namespace_terminating()));
}
