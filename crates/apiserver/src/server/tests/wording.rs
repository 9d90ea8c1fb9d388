//! What requests that make little sense are answered, in upstream's codes and words.

use super::*;

impl Cluster {
    async fn sent(
        &self,
        method: Method,
        uri: &str,
        content_type: &str,
        body: &'static str,
    ) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type)
            .body(Full::from(body))
            .expect("a request");
        reply(self.send(request).await).await
    }
}

fn told(reply: &Reply) -> (u16, &str) {
    (
        reply.code,
        reply.body["message"].as_str().unwrap_or_default(),
    )
}

async fn with_map() -> Cluster {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn any_state_is_given_whole() {
    let cluster = with_map().await;
    for name in ["b", "c"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    for (query, count, more) in [
        ("limit=2", 2, true),
        ("limit=2&resourceVersion=0", 3, false),
        (
            "limit=2&resourceVersion=0&resourceVersionMatch=NotOlderThan",
            3,
            false,
        ),
    ] {
        let list = cluster.get(&format!("{CONFIGMAPS}?{query}")).await.body;
        let items = list["items"].as_array().map_or(0, Vec::len);
        let continues = list["metadata"].get("continue").is_some();
        assert_eq!((items, continues), (count, more), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_deleted_as_it_was_at_its_version() {
    let cluster = Cluster::new().await;
    let first = cluster.create(CONFIGMAPS, configmap("first")).await;
    cluster.create(CONFIGMAPS, configmap("later")).await;
    let uri = format!("{CONFIGMAPS}?resourceVersion={}", version(&first));
    let gone = cluster.call(Method::DELETE, &uri, Value::Null).await;
    assert_eq!(gone.code, 200, "{}", gone.body);
    for (name, code) in [("first", 404), ("later", 200)] {
        let found = cluster.get(&format!("{CONFIGMAPS}/{name}")).await;
        assert_eq!(found.code, code, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_cannot_be_read_is_deleted_as_such() {
    let cluster = with_map().await;
    let uri = format!("{CONFIGMAPS}?ignoreStoreReadErrorWithClusterBreakingPotential=true");
    let refused = cluster.call(Method::DELETE, &uri, Value::Null).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let uri = format!("{CONFIGMAPS}/a?ignoreStoreReadErrorWithClusterBreakingPotential=true");
    let refused = cluster.call(Method::DELETE, &uri, Value::Null).await;
    let wanted = "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage";
    assert_eq!(told(&refused), (409, wanted));
    let both =
        json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true, "gracePeriodSeconds": 1});
    let refused = cluster
        .call(Method::DELETE, &format!("{CONFIGMAPS}/a"), both)
        .await;
    let wanted = "DeleteOptions.meta.k8s.io \"\" is invalid: ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: cannot be set together with .gracePeriodSeconds";
    assert_eq!(told(&refused), (422, wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_takes_a_head() {
    let cluster = with_map().await;
    for (uri, code) in [
        (CONFIGMAPS.to_owned(), 405),
        (format!("{CONFIGMAPS}/a"), 405),
        (format!("{CONFIGMAPS}/a/nothing"), 404),
        ("/apis/apps/v1".to_owned(), 405),
        ("/version".to_owned(), 405),
        ("/healthz".to_owned(), 200),
    ] {
        let request = Request::head(&uri)
            .body(Full::default())
            .expect("a request");
        let answer = cluster.send(request).await;
        assert_eq!(answer.status().as_u16(), code, "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_not_acceptable() {
    let cluster = with_map().await;
    let one = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let object = format!("{CONFIGMAPS}/a");
    let watch = format!("{CONFIGMAPS}?watch=1");
    for (uri, accept, wanted) in [
        (
            CONFIGMAPS,
            one,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            &object,
            list,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
        (
            &object,
            "text/html",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
        (
            &watch,
            "text/html",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ),
    ] {
        let refused = cluster.get_as(uri, accept).await;
        assert_eq!(told(&refused), (406, wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_a_version_that_does_not_come() {
    let cluster = with_map().await;
    let uri = format!(
        "{CONFIGMAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999&timeoutSeconds=9"
    );
    let event = cluster.get(&uri).await;
    assert_eq!(event.code, 200);
    assert_eq!(event.body["type"], "ERROR");
    assert_eq!(event.body["object"]["code"], 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_tell_what_they_have_twice() {
    let cluster = with_map().await;
    let twice = r#"{"dat":{},"data":{"q":"1","q":"2"}}"#;
    let operations = r#"[{"op":"add","path":"/foo","value":1,"op":"add"}]"#;
    for (content_type, body, wanted) in [
        (
            "application/merge-patch+json",
            twice,
            "strict decoding error: duplicate field \"data.q\", unknown field \"dat\"",
        ),
        (
            "application/strategic-merge-patch+json",
            twice,
            "patch: Invalid value: \"map[dat:map[] data:map[q:2]]\": strict decoding error: duplicate field \"data.q\", unknown field \"dat\"",
        ),
        (
            "application/json-patch+json",
            operations,
            "strict decoding error: json patch duplicate field \"[0].op\", unknown field \"foo\"",
        ),
    ] {
        let uri = format!("{CONFIGMAPS}/a?fieldValidation=Strict");
        let refused = cluster.sent(Method::PATCH, &uri, content_type, body).await;
        let (code, message) = told(&refused);
        assert!(message.ends_with(wanted), "{message}");
        assert_eq!(code, 422);
        let shows_object = content_type.contains("strategic")
            || message.contains("\\\"kind\\\":\\\"ConfigMap\\\"");
        assert!(shows_object, "{message}");
    }
    let uri = format!("{CONFIGMAPS}/a?fieldValidation=Warn");
    let warned = cluster.sent(Method::PATCH, &uri, "application/merge-patch+json", twice);
    let warned = warned.await;
    let warnings = warned.headers.get_all("warning").iter();
    let warnings: Vec<_> = warnings.map(|one| one.to_str().expect("text")).collect();
    let wanted = [
        r#"299 - "duplicate field \"data.q\"""#,
        r#"299 - "unknown field \"dat\"""#,
    ];
    assert_eq!((warned.code, &warnings[..]), (200, &wanted[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_tells_all_that_it_has_twice() {
    let cluster = Cluster::new().await;
    let body = "metadata:\n  name: f\n  foo: 1\n  name: f\ndata: {a: \"1\", a: \"2\"}\n";
    let uri = format!("{CONFIGMAPS}?fieldValidation=Strict");
    let refused = cluster
        .sent(Method::POST, &uri, "application/yaml", body)
        .await;
    let wanted = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 4: key \"name\" already set in map\n  line 5: key \"a\" already set in map, unknown field \"metadata.foo\"";
    assert_eq!(told(&refused), (400, wanted));
    let uri = format!("{CONFIGMAPS}?fieldValidation=Warn");
    let made = cluster
        .sent(Method::POST, &uri, "application/yaml", body)
        .await;
    let warnings = made.headers.get_all("warning").iter();
    let warnings: Vec<_> = warnings.map(|one| one.to_str().expect("text")).collect();
    let wanted = [
        r#"299 - "line 4: key \"name\" already set in map""#,
        r#"299 - "line 5: key \"a\" already set in map""#,
        r#"299 - "unknown field \"metadata.foo\"""#,
    ];
    assert_eq!((made.code, &warnings[..]), (201, &wanted[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_looked_at_once_it_could_be_applied() {
    let cluster = Cluster::new().await;
    let apply = "application/apply-patch+yaml";
    let uri = format!("{CONFIGMAPS}/a?fieldManager=x&fieldValidation=Strict");
    let odd = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dat":{"x":"y"},"data":{"q":"1","q":"2"}}"#;
    let refused = cluster.sent(Method::PATCH, &uri, apply, odd).await;
    let wanted = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dat: field not declared in schema";
    assert_eq!(told(&refused), (500, wanted));
    let versioned =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"1"}}"#;
    let made = cluster.sent(Method::PATCH, &uri, apply, versioned).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let again = cluster.sent(Method::PATCH, &uri, apply, versioned).await;
    assert_eq!(again.code, 409, "{}", again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_other_kinds_are_refused() {
    let cluster = with_map().await;
    let json = "application/json";
    let protobuf = "application/vnd.kubernetes.protobuf";
    let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
    for (content_type, body, code, wanted) in [
        (
            json,
            r#"{"kind":"Foo"}"#,
            400,
            format!("Foo in version \"v1\" cannot be handled as a ConfigMap: no kind \"Foo\" is registered for version \"v1\" {scheme}"),
        ),
        (
            json,
            r#"{"kind":"Secret"}"#,
            400,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion".to_owned(),
        ),
        (
            json,
            r#"{"kind":"ConfigMap","apiVersion":"v2"}"#,
            400,
            format!("ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" {scheme}"),
        ),
        (
            protobuf,
            r#"{"metadata": {"name": "ct"}}"#,
            400,
            r#"the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({"metadata": {"name": "ct"}})"#.to_owned(),
        ),
        (
            "application/x-yaml",
            "{}",
            415,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf".to_owned(),
        ),
    ] {
        let refused = cluster.sent(Method::POST, CONFIGMAPS, content_type, body).await;
        assert_eq!(told(&refused), (code, &*wanted));
    }
    let no_type = "couldn't get version/kind; json parse error: ";
    let of_list = "json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    for (body, wanted) in [
        ("{", format!("{no_type}unexpected end of JSON input")),
        ("[]", format!("{no_type}{of_list}")),
        (
            r#"{"gracePeriodSeconds":"x"}"#,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64".to_owned(),
        ),
        (
            r#"{"kind":"Foo","apiVersion":"v1"}"#,
            "no kind \"Foo\" is registered for version \"v1\" in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"".to_owned(),
        ),
    ] {
        let uri = format!("{CONFIGMAPS}/a");
        let refused = cluster.sent(Method::DELETE, &uri, json, body).await;
        assert_eq!(told(&refused), (400, &*wanted), "{body}");
    }
}
