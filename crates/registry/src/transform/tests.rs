use std::sync::Arc;

use super::*;

fn kind(resource: &str) -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", resource).expect("a core kind")
}

#[tokio::test]
async fn kinds_are_encrypted_as_is_configured() {
    let transformer = for_tests();
    let plain = Bytes::from_static(b"{\"kind\":\"Secret\"}");
    let key = "/registry/secrets/n/a";
    let secrets = kind("secrets");
    let stored = transformer.encode(secrets, key, plain.clone()).unwrap();
    assert!(!stored.windows(6).any(|w| w == b"Secret"));
    let decoded = transformer.decode(secrets, key, stored.clone()).await;
    let decoded = decoded.unwrap();
    assert_eq!((&decoded.json, decoded.stale), (&plain, false));
    assert!(transformer.is_current(secrets, decoded.seal));
    let moved = transformer.decode(secrets, "/registry/secrets/n/b", stored);
    let moved = moved.await.unwrap_err();
    assert!(!moved.is_unavailable(), "{moved}");
    // Written before encryption was on.
    let decoded = transformer.decode(secrets, key, plain.clone()).await;
    let decoded = decoded.unwrap();
    assert_eq!(decoded.json, plain);
    assert!(!transformer.is_current(secrets, decoded.seal));
    let pods = kind("pods");
    assert_eq!(transformer.encode(pods, "k", plain.clone()).unwrap(), plain);
    let decoded = transformer.decode(pods, "k", plain.clone()).await.unwrap();
    assert_eq!(decoded.json, plain);
    assert!(transformer.is_current(pods, decoded.seal));
}

#[tokio::test]
async fn reads_what_upstream_stores() {
    let read: ReadProtobuf = |bytes| match bytes {
        b"k8s\0map" => Ok(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        b"k8s\0old" => Ok(serde_json::json!({"apiVersion": "v0", "kind": "ConfigMap"})),
        _ => Err("no message".to_owned()),
    };
    let encryption = for_tests().encryption().clone();
    let transformer = Transformer::new(encryption).reading_protobuf(read);
    let decode = async |value: &'static [u8]| {
        let decoded = transformer.decode(kind("configmaps"), "/k", Bytes::from_static(value));
        let decoded = decoded.await.map_err(|error| error.to_string())?;
        Ok((decoded.json, decoded.stale))
    };
    let json = Bytes::from_static(br#"{"apiVersion":"v1","kind":"ConfigMap"}"#);
    assert_eq!(decode(b"k8s\0map").await, Ok((json, true)));
    let told = |why: &str| Err(format!("cannot read the protobuf message of /k: {why}"));
    assert_eq!(decode(b"k8s\0old").await, told("it is of v0, not of v1"));
    assert_eq!(decode(b"k8s\0").await, told("no message"));
}
