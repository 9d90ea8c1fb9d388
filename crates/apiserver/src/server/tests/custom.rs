//! Custom resources, from their definition to its end.

use std::time::Instant;

use super::*;

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const BETA: &str = "/apis/example.com/v1beta1/namespaces/default/widgets";

pub(super) fn definition() -> Value {
    let props = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": props},
                 "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                 "selectableFields": [{"jsonPath": ".spec.color"}],
                 "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                 "schema": {"openAPIV3Schema": props}},
            ],
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn condition(object: &Value, name: &str) -> Option<Value> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|one| one["type"] == name).cloned()
}

impl Cluster {
    /// Waits until `holds` for the definition; `Null`: it is gone.
    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let reply = self.get(&format!("{DEFINITIONS}/{name}")).await;
            let object = if reply.code == 404 {
                Value::Null
            } else {
                reply.body
            };
            if holds(&object) {
                return object;
            }
            assert!(Instant::now() < end, "not in time: {object}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn established(&self, name: &str) -> Value {
        let is = |object: &Value| {
            condition(object, "Established").is_some_and(|one| one["status"] == "True")
        };
        self.until(name, is).await
    }

    pub(super) async fn with_widgets() -> Cluster {
        let cluster = Cluster::new().await;
        cluster.create(DEFINITIONS, definition()).await;
        cluster.established("widgets.example.com").await;
        cluster
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_as_soon_as_it_says_so() {
    let cluster = Cluster::new().await;
    let begun = Instant::now();
    cluster.create(DEFINITIONS, definition()).await;
    let object = cluster.established("widgets.example.com").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(object["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    let list = cluster.get(WIDGETS).await.body;
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("WidgetList"), &json!("example.com/v1"))
    );
    // Such a list says that it does not go on; lists of built-in kinds do not.
    assert_eq!(list["metadata"]["continue"], "");
    let pretty = cluster.get(&format!("{WIDGETS}?pretty=true")).await.body;
    assert_eq!(pretty["metadata"]["continue"], "");
    let others = cluster.get(CONFIGMAPS).await.body;
    assert_eq!(others["metadata"].get("continue"), None);
    let resources = cluster.get("/apis/example.com/v1").await.body;
    let names: Vec<&str> = (resources["resources"].as_array().into_iter().flatten())
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    let group = cluster.get("/apis/example.com").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let v3 = cluster.get("/openapi/v3/apis/example.com/v1").await.body;
    let schema = &v3["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["size"]["type"], "integer",
        "{v3}"
    );
    // Clients choose by it: kubectl apply would send a strategic merge patch.
    let path = &v3["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"];
    let patches = path["patch"]["requestBody"]["content"].as_object();
    let patches: Vec<&str> = (patches.into_iter().flatten())
        .map(|(media_type, _)| media_type.as_str())
        .collect();
    assert_eq!(
        patches,
        [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json"
        ]
    );
    let v2 = cluster.get("/openapi/v2").await.body;
    assert_eq!(
        v2["definitions"]["com.example.v1.WidgetList"]["required"],
        json!(["items"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_changes_nothing_stores_in_the_version_of_today() {
    let cluster = Cluster::with_widgets().await;
    cluster
        .create(WIDGETS, widget("a", json!({"size": 1})))
        .await;
    let path = format!("{WIDGETS}/a");
    let touch = async || {
        let reply = cluster.merge(&path, json!({})).await;
        assert_eq!(reply.code, 200, "{}", reply.body);
        reply.body["metadata"]["resourceVersion"].clone()
    };
    let first = touch().await;
    assert_eq!(touch().await, first);
    let mut changed = definition();
    let versions = &mut changed["spec"]["versions"];
    versions[0]["storage"] = json!(false);
    versions[1]["storage"] = json!(true);
    let patch = json!({"spec": {"versions": versions}});
    let name = format!("{DEFINITIONS}/widgets.example.com");
    assert_eq!(cluster.merge(&name, patch).await.code, 200);
    let end = Instant::now() + DEADLINE;
    // The definition's status follows its change: until then the object may be written once more.
    let mut last = first.clone();
    loop {
        let version = touch().await;
        if version != first && version == last {
            break;
        }
        last = version;
        assert!(
            Instant::now() < end,
            "the object is stored as it was, or again and again"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let store = &cluster.server.core.registry.store;
    let key = "/registry/example.com/widgets/";
    let stored = store.range(key, None, 0, None).await.expect("a range");
    let text = String::from_utf8_lossy(&stored.kvs[0].value).into_owned();
    assert!(text.contains("example.com/v1beta1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_pruned_defaulted_and_validated() {
    let cluster = Cluster::with_widgets().await;
    let made = cluster
        .create(WIDGETS, widget("a", json!({"size": 1, "odd": true})))
        .await;
    assert_eq!(made["spec"], json!({"size": 1, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = cluster
        .call(
            Method::POST,
            &strict,
            widget("b", json!({"size": 1, "odd": true})),
        )
        .await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.body["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.odd\""
    );
    let refused = cluster
        .call(Method::POST, WIDGETS, widget("b", json!({"size": "x"})))
        .await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.body["message"],
        "Widget.example.com \"b\" is invalid: spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \
         \"string\""
    );
    let url = format!("{WIDGETS}/a");
    let patched = cluster.merge(&url, json!({"spec": {"size": 0}})).await;
    assert_eq!(patched.code, 422, "{}", patched.body);
    let patched = cluster
        .merge(&url, json!({"spec": {"size": 5}, "status": {"phase": "x"}}))
        .await;
    assert_eq!(patched.body["metadata"]["generation"], 2);
    assert_eq!(patched.body.get("status"), None);
    let strategic = cluster
        .typed(
            Method::PATCH,
            &url,
            "application/strategic-merge-patch+json",
            json!({"spec": {}}),
        )
        .await;
    assert_eq!(strategic.code, 415);
    let status = cluster
        .merge(
            &format!("{url}/status"),
            json!({"spec": {"size": 9}, "status": {"phase": "x", "replicas": 3}}),
        )
        .await;
    assert_eq!(status.body["status"]["phase"], "x", "{}", status.body);
    assert_eq!(
        (
            &status.body["spec"]["size"],
            &status.body["metadata"]["generation"]
        ),
        (&json!(5), &json!(2))
    );
    // Nothing says how many there are to be: an update may.
    let unset = cluster.get(&format!("{url}/scale")).await;
    assert_eq!(
        (unset.code, unset.body["message"].as_str()),
        (
            500,
            Some(
                "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
            ),
        )
    );
    let still = cluster.merge(&format!("{url}/scale"), json!({})).await;
    assert_eq!(
        (still.code, still.body["message"].as_str()),
        (
            400,
            Some("the spec replicas field \".spec.replicas\" cannot be empty"),
        )
    );
    let scaled = json!({"spec": {"replicas": 2}});
    let scaled = cluster.merge(&format!("{url}/scale"), scaled).await;
    assert_eq!(scaled.code, 200, "{}", scaled.body);
    let scale = cluster.get(&format!("{url}/scale")).await.body;
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["replicas"]),
        (&json!(2), &json!(3))
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = cluster.get_as(&format!("{url}/scale"), table).await.body;
    let columns: Vec<_> = (table["columnDefinitions"].as_array().into_iter().flatten())
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"], "{table}");
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[2]), (&json!(2), &json!(3)));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let scale = cluster
        .merge(&format!("{url}/scale"), json!({"spec": {"replicas": 7}}))
        .await;
    assert_eq!(scale.body["spec"]["replicas"], 7);
    assert_eq!(cluster.get(&url).await.body["spec"]["replicas"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_of_the_same_objects() {
    let cluster = Cluster::with_widgets().await;
    let mut beta = widget("a", json!({"size": 1}));
    beta["apiVersion"] = json!("example.com/v1beta1");
    let made = cluster.call(Method::POST, BETA, beta).await;
    assert_eq!(
        made.body["apiVersion"], "example.com/v1beta1",
        "{}",
        made.body
    );
    let warning = made
        .headers
        .get("warning")
        .and_then(|value| value.to_str().ok());
    assert_eq!(
        warning,
        Some("299 - \"example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget\"")
    );
    let v1 = cluster.get(&format!("{WIDGETS}/a")).await.body;
    assert_eq!(v1["apiVersion"], "example.com/v1");
    let patched = cluster
        .merge(&format!("{BETA}/a"), json!({"spec": {"size": 2}}))
        .await;
    assert_eq!(
        (patched.code, &patched.body["apiVersion"]),
        (200, &json!("example.com/v1beta1"))
    );
    let list = cluster.get(BETA).await.body;
    assert_eq!(list["apiVersion"], "example.com/v1beta1");
    assert_eq!(list["items"][0]["spec"]["size"], 2);
    let mut watch = cluster.watch(&format!("{BETA}?watch=1")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(event["object"]["apiVersion"], "example.com/v1beta1");
    let same = cluster
        .merge(&format!("{BETA}/a"), json!({"spec": {"size": 2}}))
        .await;
    assert_eq!(
        version(&same.body),
        version(&patched.body),
        "nothing changed, nothing is written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_fields() {
    let cluster = Cluster::with_widgets().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        cluster
            .create(WIDGETS, widget(name, json!({"size": 3, "color": color})))
            .await;
    }
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = cluster.get_as(WIDGETS, accept).await.body;
    let names: Vec<&str> = (table["columnDefinitions"].as_array().into_iter().flatten())
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(names, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3]));
    let found = cluster
        .get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"))
        .await
        .body;
    assert_eq!(found["items"][0]["metadata"]["name"], "b");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let unknown = cluster
        .get(&format!("{WIDGETS}?fieldSelector=spec.size%3D3"))
        .await;
    assert_eq!(
        (unknown.code, &unknown.body["message"]),
        (400, &json!("field label not supported: spec.size"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_changes_what_is_stored_for_who_reads() {
    let cluster = Cluster::with_widgets().await;
    cluster
        .create(WIDGETS, widget("a", json!({"size": 1})))
        .await;
    let url = format!("{DEFINITIONS}/widgets.example.com");
    let mut object = cluster.get(&url).await.body;
    for at in 0..2 {
        let props = &mut object["spec"]["versions"][at]["schema"]["openAPIV3Schema"]["properties"]
            ["spec"]["properties"];
        props["shape"] = json!({"type": "string", "default": "round"});
    }
    let changed = cluster.call(Method::PUT, &url, object).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let end = Instant::now() + DEADLINE;
    loop {
        let read = cluster.get(&format!("{WIDGETS}/a")).await.body;
        if read["spec"]["shape"] == "round" {
            break;
        }
        assert!(Instant::now() < end, "not in time: {read}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let Cluster { server, dir } = cluster;
    server.stop.cancel();
    server.tasks.close();
    server.tasks.wait().await;
    drop(server);
    // After a restart the kinds are there before the first request.
    let cluster = Cluster {
        server: open(dir.path()).await,
        dir,
    };
    let read = cluster.get(&format!("{WIDGETS}/a")).await.body;
    assert_eq!(read["spec"]["shape"], "round", "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_with_its_objects() {
    let cluster = Cluster::with_widgets().await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(WIDGETS, held).await;
    for name in ["a", "b", "c"] {
        cluster
            .create(WIDGETS, widget(name, json!({"size": 1})))
            .await;
    }
    let mut watch = cluster
        .watch(&format!("{WIDGETS}?watch=1&resourceVersion=0"))
        .await;
    for _ in 0..4 {
        assert_eq!(watch.next().await.expect("an event")["type"], "ADDED");
    }
    let url = format!("{DEFINITIONS}/widgets.example.com");
    let deleted = cluster.call(Method::DELETE, &url, Value::Null).await;
    assert_eq!(deleted.code, 200);
    let object = cluster
        .until("widgets.example.com", |object| {
            condition(object, "Terminating")
                .is_some_and(|one| one["reason"] == "InstanceDeletionInProgress")
        })
        .await;
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    let end = Instant::now() + DEADLINE;
    while cluster.get(WIDGETS).await.body["items"]
        .as_array()
        .map(Vec::len)
        != Some(1)
    {
        assert!(Instant::now() < end, "the others go");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let refused = cluster
        .call(Method::POST, WIDGETS, widget("d", json!({"size": 1})))
        .await;
    let why = "widgets.example.com \"d\" is forbidden: create not allowed while custom resource definition is terminating";
    assert_eq!((refused.code, &refused.body["message"]), (403, &json!(why)));
    cluster
        .merge(
            &format!("{WIDGETS}/held"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    cluster.until("widgets.example.com", Value::is_null).await;
    let mut deleted = 0;
    while let Some(event) = watch.next().await {
        deleted += usize::from(event["type"] == "DELETED");
    }
    assert_eq!(deleted, 4, "the watch sees them all go, and ends");
    let end = Instant::now() + DEADLINE;
    while cluster.get("/apis/example.com").await.code != 404 {
        assert!(Instant::now() < end, "the group goes");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    cluster.create(DEFINITIONS, definition()).await;
    cluster.established("widgets.example.com").await;
    assert_eq!(cluster.get(WIDGETS).await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cannot_have_the_same_names() {
    let cluster = Cluster::with_widgets().await;
    let mut other = definition();
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget", "shortNames": ["wd"]});
    cluster.create(DEFINITIONS, other).await;
    let object = cluster
        .until("gadgets.example.com", |object| {
            condition(object, "NamesAccepted").is_some()
        })
        .await;
    let accepted = condition(&object, "NamesAccepted").expect("a condition");
    assert_eq!(
        (&accepted["status"], &accepted["reason"]),
        (&json!("False"), &json!("ListKindConflict"))
    );
    assert_eq!(
        condition(&object, "Established").expect("a condition")["reason"],
        "NotAccepted"
    );
    assert_eq!(cluster.get("/apis/example.com/v1/gadgets").await.code, 404);
    let url = format!("{DEFINITIONS}/widgets.example.com");
    cluster.call(Method::DELETE, &url, Value::Null).await;
    cluster.established("gadgets.example.com").await;
    assert_eq!(cluster.get("/apis/example.com/v1/gadgets").await.code, 200);
}
