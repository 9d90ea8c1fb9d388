//! Custom resources whose versions a webhook converts: reads, lists, watches and writes in each of them, and what fails.

use knarr_webhook::testing::{Reaction, Server as Hook};

use super::{webhooks::message, *};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// `hostPort` of v1 is `host` and `port` of v2.
fn convert(review: &Value) -> Value {
    let wanted = &review["request"]["desiredAPIVersion"];
    let objects = review["request"]["objects"]
        .as_array()
        .into_iter()
        .flatten();
    let converted: Vec<Value> = objects
        .map(|object| {
            let mut object = object.clone();
            let spec = object["spec"].take();
            let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
            let mut converted = json!({});
            let mut set = |field: &str, value: &str| {
                if !matches!(value, "" | ":") {
                    converted[field] = json!(value);
                }
            };
            match wanted.as_str() {
                Some("example.com/v2") => {
                    let both = text("hostPort");
                    let (host, port) = both.split_once(':').unwrap_or((&both, ""));
                    set("host", host);
                    set("port", port);
                }
                _ => set("hostPort", &format!("{}:{}", text("host"), text("port"))),
            }
            object["spec"] = converted;
            object["apiVersion"] = wanted.clone();
            object
        })
        .collect();
    let response = json!({
        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted,
    });
    json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response})
}

fn definition(config: &Value, stored: &str) -> Value {
    let version = |name: &str, fields: &[&str]| {
        let mut properties = json!({});
        for field in fields {
            properties[field] = json!({"type": "string"});
        }
        let paths = fields
            .iter()
            .map(|field| json!({"jsonPath": format!(".spec.{field}")}));
        json!({
            "name": name, "served": true, "storage": name == stored,
            "selectableFields": paths.collect::<Vec<_>>(),
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
            }}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ports.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "ports", "kind": "Port"},
            "versions": [version("v1", &["hostPort"]), version("v2", &["host", "port"])],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"], "clientConfig": config,
            }},
        },
    })
}

fn port(version: &str, name: &str, spec: &Value) -> Value {
    let api_version = format!("example.com/{version}");
    json!({"apiVersion": api_version, "kind": "Port", "metadata": {"name": name}, "spec": spec})
}

const V1: &str = "/apis/example.com/v1/namespaces/default/ports";
const V2: &str = "/apis/example.com/v2/namespaces/default/ports";

impl Cluster {
    /// Waits until both versions are served, with this one stored.
    async fn with_ports(&self, stored: &str) {
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            let reply = self.get(&format!("{DEFINITIONS}/ports.example.com")).await;
            let versions = reply.body["status"]["storedVersions"].as_array().cloned();
            let is_stored = versions.is_some_and(|all| all.contains(&json!(stored)));
            if is_stored && self.get(V2).await.code != 404 {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "not in time: {}",
                reply.body
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_served_in_every_version_whichever_they_were_written_in() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| Reaction::Answer(convert(review))).await;
    let config = server.config("/convert");
    cluster.create(DEFINITIONS, definition(&config, "v1")).await;
    cluster.with_ports("v1").await;
    let made = cluster
        .create(V1, port("v1", "one", &json!({"hostPort": "a:1"})))
        .await;
    assert_eq!(server.calls(), 0, "nothing to convert");
    let made_version = made["metadata"]["resourceVersion"].clone();
    let two = cluster
        .create(V2, port("v2", "two", &json!({"host": "b", "port": "2"})))
        .await;
    assert_eq!(two["spec"], json!({"host": "b", "port": "2"}));
    let one = cluster.get(&format!("{V2}/one")).await.body;
    assert_eq!(one["spec"], json!({"host": "a", "port": "1"}));
    assert_eq!(one["apiVersion"], "example.com/v2");
    assert_eq!(one["metadata"]["resourceVersion"], made_version);
    let before = server.calls();
    let list = cluster.get(V2).await.body;
    assert_eq!(server.calls() - before, 1, "a list in one call");
    let hosts: Vec<&Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| &item["spec"]["host"])
        .collect();
    assert_eq!(hosts, ["a", "b"]);

    // From now on another version is stored; what is there stays as it is.
    let mut new = cluster
        .get(&format!("{DEFINITIONS}/ports.example.com"))
        .await
        .body;
    for version in new["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["storage"] = json!(version["name"] == "v2");
    }
    let put = cluster
        .call(
            Method::PUT,
            &format!("{DEFINITIONS}/ports.example.com"),
            new,
        )
        .await;
    assert_eq!(put.code, 200, "{}", put.body);
    cluster.with_ports("v2").await;
    cluster
        .create(V2, port("v2", "three", &json!({"host": "c", "port": "3"})))
        .await;
    for (uri, wanted) in [
        (V1.to_owned(), json!(["a:1", "c:3", "b:2"])),
        (format!("{V1}?limit=2"), json!(["a:1", "c:3"])),
        (
            format!("{V1}?fieldSelector=spec.hostPort%3Db%3A2"),
            json!(["b:2"]),
        ),
    ] {
        let list = cluster.get(&uri).await.body;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let found: Vec<Value> = items
            .iter()
            .map(|item| item["spec"]["hostPort"].clone())
            .collect();
        assert_eq!(json!(found), wanted, "{uri}");
    }
    let selected = cluster
        .get(&format!("{V2}?fieldSelector=spec.host%3Da"))
        .await
        .body;
    assert_eq!(selected["items"][0]["metadata"]["name"], "one");
    assert_eq!(selected["items"].as_array().map(Vec::len), Some(1));
    let refused = cluster
        .get(&format!("{V2}?fieldSelector=spec.hostPort%3Da"))
        .await;
    assert_eq!(refused.code, 400, "{}", refused.body);
    let patched = cluster
        .merge(&format!("{V1}/one"), json!({"spec": {"hostPort": "a:9"}}))
        .await;
    assert_eq!(
        (patched.code, &patched.body["spec"]["hostPort"]),
        (200, &json!("a:9"))
    );
    let one = cluster.get(&format!("{V2}/one")).await.body;
    assert_eq!(one["spec"], json!({"host": "a", "port": "9"}));
    for uri in [V1, V2] {
        let table = cluster
            .get_as(uri, "application/json;as=Table;v=v1;g=meta.k8s.io")
            .await;
        assert_eq!(table.body["rows"].as_array().map(Vec::len), Some(3));
    }
    assert_eq!(
        cluster.call(Method::DELETE, V1, Value::Null).await.code,
        200
    );
    assert_eq!(cluster.get(V2).await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_selects_by_the_fields_of_its_own_version() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| Reaction::Answer(convert(review))).await;
    cluster
        .create(DEFINITIONS, definition(&server.config("/"), "v1"))
        .await;
    cluster.with_ports("v1").await;
    cluster
        .create(V1, port("v1", "one", &json!({"hostPort": "a:1"})))
        .await;
    let mut all = cluster.watch(&format!("{V2}?watch=1")).await;
    let mut some = cluster
        .watch(&format!("{V2}?watch=1&fieldSelector=spec.host%3Db"))
        .await;
    let short = |event: Option<Value>| {
        let event = event.expect("an event");
        let object = &event["object"];
        format!(
            "{} {} {} {}",
            event["type"], object["apiVersion"], object["metadata"]["name"], object["spec"]["host"]
        )
    };
    assert_eq!(
        short(all.next().await),
        r#""ADDED" "example.com/v2" "one" "a""#
    );
    for host in ["b:1", "b:2", "c:1"] {
        let changed = cluster
            .merge(&format!("{V1}/one"), json!({"spec": {"hostPort": host}}))
            .await;
        assert_eq!(changed.code, 200, "{}", changed.body);
    }
    cluster
        .call(Method::DELETE, &format!("{V1}/one"), Value::Null)
        .await;
    for wanted in ["b", "b", "c"] {
        let wanted = format!(r#""MODIFIED" "example.com/v2" "one" "{wanted}""#);
        assert_eq!(short(all.next().await), wanted);
    }
    assert_eq!(
        short(all.next().await),
        r#""DELETED" "example.com/v2" "one" "c""#
    );
    assert_eq!(
        short(some.next().await),
        r#""ADDED" "example.com/v2" "one" "b""#
    );
    assert_eq!(
        short(some.next().await),
        r#""MODIFIED" "example.com/v2" "one" "b""#
    );
    assert_eq!(
        short(some.next().await),
        r#""DELETED" "example.com/v2" "one" "b""#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_fails_is_told_and_costs_only_who_needs_it() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| {
        let mut answer = convert(review);
        let name = &review["request"]["objects"][0]["metadata"]["name"];
        match name.as_str() {
            Some("refused") => {
                answer["response"]["result"] =
                    json!({"status": "Failure", "message": "not this one"});
            }
            Some("renamed") => {
                answer["response"]["convertedObjects"][0]["metadata"]["name"] = json!("other");
            }
            Some("none") => answer["response"]["convertedObjects"] = json!([]),
            _ => {}
        }
        Reaction::Answer(answer)
    })
    .await;
    cluster
        .create(DEFINITIONS, definition(&server.config("/"), "v1"))
        .await;
    cluster.with_ports("v1").await;
    let prefix = "conversion webhook for example.com/v1, Kind=Port ";
    for (name, wanted) in [
        ("refused", "failed: not this one"),
        (
            "renamed",
            "returned invalid object: must have the same name: renamed != other",
        ),
        ("none", "returned 0 objects, expected 1"),
    ] {
        cluster
            .create(V1, port("v1", name, &json!({"hostPort": "a:1"})))
            .await;
        let told = cluster.get(&format!("{V2}/{name}")).await;
        assert_eq!(
            (told.code, message(&told)),
            (500, &*format!("{prefix}{wanted}"))
        );
        assert_eq!(cluster.get(&format!("{V1}/{name}")).await.code, 200);
    }
    let mut watch = cluster.watch(&format!("{V2}?watch=1")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(500)),
        "{event}"
    );
    assert!(watch.next().await.is_none(), "the watch ends");
    let refused = port("v2", "refused-too", &json!({"host": "a"}));
    assert_eq!(cluster.call(Method::POST, V2, refused).await.code, 201);
}

impl Cluster {
    async fn apply_port(&self, manager: &str, force: bool, port: &Value) -> Reply {
        let version = port["apiVersion"].as_str().unwrap_or_default();
        let name = port["metadata"]["name"].as_str().unwrap_or_default();
        let uri = format!(
            "/apis/{version}/namespaces/default/ports/{name}?fieldManager={manager}&force={force}"
        );
        let config = port.clone();
        self.typed(Method::PATCH, &uri, "application/apply-patch+yaml", config)
            .await
    }
}

/// `manager version fields`, each.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let shown = entries.into_iter().flatten().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        format!(
            "{} {} {}",
            text("manager"),
            text("apiVersion"),
            entry["fieldsV1"]
        )
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn who_owns_a_field_of_one_version_owns_what_it_becomes_in_another() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| Reaction::Answer(convert(review))).await;
    cluster
        .create(DEFINITIONS, definition(&server.config("/"), "v1"))
        .await;
    cluster.with_ports("v1").await;
    let old = port("v1", "one", &json!({"hostPort": "a:1"}));
    let made = cluster.apply_port("old", false, &old).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(server.calls(), 0, "one version alone needs no webhook");

    let new = port("v2", "one", &json!({"host": "b"}));
    let conflict = cluster.apply_port("new", false, &new).await;
    assert_eq!(
        (conflict.code, message(&conflict)),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"old\": .spec.hostPort"
        )
    );
    let same = port("v2", "one", &json!({"host": "a"}));
    let shared = cluster.apply_port("new", false, &same).await;
    assert_eq!(shared.code, 200, "{}", shared.body);
    assert_eq!(
        managers(&shared.body),
        [
            r#"new example.com/v2 {"f:spec":{"f:host":{}}}"#,
            r#"old example.com/v1 {"f:spec":{"f:hostPort":{}}}"#,
        ]
    );
    let forced = cluster.apply_port("new", true, &new).await;
    assert_eq!(
        forced.body["spec"],
        json!({"host": "b", "port": "1"}),
        "{}",
        forced.body
    );
    assert_eq!(
        managers(&forced.body),
        [r#"new example.com/v2 {"f:spec":{"f:host":{}}}"#]
    );

    // What is no apply takes as well.
    let patched = cluster
        .merge(
            &format!("{V1}/one?fieldManager=edit"),
            json!({"spec": {"hostPort": "c:1"}}),
        )
        .await;
    assert_eq!(
        managers(&patched.body),
        [r#"edit example.com/v1 {"f:spec":{"f:hostPort":{}}}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applier_that_changes_its_version_removes_what_it_does_not_want_any_more() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| Reaction::Answer(convert(review))).await;
    cluster
        .create(DEFINITIONS, definition(&server.config("/"), "v2"))
        .await;
    cluster.with_ports("v2").await;
    let both = port("v2", "one", &json!({"host": "a", "port": "1"}));
    let made = cluster.apply_port("it", false, &both).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let less = port("v1", "one", &json!({"hostPort": "a:1"}));
    let less = cluster.apply_port("it", false, &less).await;
    assert_eq!(less.body["spec"], json!({"hostPort": "a:1"}));
    assert_eq!(
        managers(&less.body),
        [r#"it example.com/v1 {"f:spec":{"f:hostPort":{}}}"#]
    );
    let none = port("v2", "one", &json!({}));
    let none = cluster.apply_port("it", false, &none).await;
    assert_eq!(
        (none.code, &none.body["spec"]),
        (200, &json!({})),
        "{}",
        none.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_stay_while_nobody_converts() {
    let cluster = Cluster::new().await;
    let away = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let server = {
        let away = away.clone();
        Hook::start(&[], move |_, review| {
            let mut answer = convert(review);
            let wanted = &review["request"]["desiredAPIVersion"];
            if away.load(std::sync::atomic::Ordering::Relaxed) && wanted == "example.com/v2" {
                answer["response"]["result"] = json!({"status": "Failure", "message": "not now"});
            }
            Reaction::Answer(answer)
        })
        .await
    };
    cluster
        .create(DEFINITIONS, definition(&server.config("/"), "v1"))
        .await;
    cluster.with_ports("v1").await;
    let new = port("v2", "one", &json!({"host": "a", "port": "1"}));
    let made = cluster.apply_port("new", false, &new).await;
    assert_eq!(made.code, 201, "{}", made.body);
    away.store(true, std::sync::atomic::Ordering::Relaxed);

    let patched = cluster
        .merge(
            &format!("{V1}/one?fieldManager=edit"),
            json!({"spec": {"hostPort": "b:1"}}),
        )
        .await;
    assert_eq!(
        (patched.code, managers(&patched.body)),
        (200, managers(&made.body)),
        "{}",
        patched.body
    );
    let old = port("v1", "one", &json!({"hostPort": "c:1"}));
    let refused = cluster.apply_port("old", true, &old).await;
    assert_eq!(
        (refused.code, message(&refused)),
        (
            500,
            "failed to convert old object: conversion webhook for example.com/v1, Kind=Port failed: not now"
        )
    );
}
