use std::sync::Arc;

use super::*;

fn kind(resource: &str) -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", resource).expect("a core kind")
}

#[test]
fn seals_secrets_to_their_key() {
    let transformer = Transformer::new(&[7; ENCRYPTION_KEY_BYTES]);
    let plain = Bytes::from_static(b"{\"kind\":\"Secret\"}");
    let stored = transformer
        .encode(kind("secrets"), "/registry/secrets/n/a", plain.clone())
        .unwrap();
    assert!(stored.starts_with(PREFIX));
    assert!(!stored.windows(6).any(|w| w == b"Secret"));
    assert!(!transformer.is_stale(kind("secrets"), &stored));
    assert!(transformer.is_stale(kind("secrets"), &plain));
    assert!(!transformer.is_stale(kind("configmaps"), &plain));
    let again = transformer
        .encode(kind("secrets"), "/registry/secrets/n/a", plain.clone())
        .unwrap();
    assert_ne!(stored, again, "every value has its own nonce");
    assert_eq!(
        transformer
            .decode(kind("secrets"), "/registry/secrets/n/a", stored.clone())
            .unwrap(),
        plain
    );
    let moved = transformer.decode(kind("secrets"), "/registry/secrets/n/b", stored.clone());
    assert!(matches!(moved, Err(Error::Decrypt { .. })));
    let other = Transformer::new(&[8; ENCRYPTION_KEY_BYTES]);
    assert!(
        other
            .decode(kind("secrets"), "/registry/secrets/n/a", stored.clone())
            .is_err()
    );
    let cut = stored.slice(..PREFIX.len() + 3);
    assert!(
        transformer
            .decode(kind("secrets"), "/registry/secrets/n/a", cut)
            .is_err()
    );
}

#[test]
fn leaves_the_rest_alone() {
    let transformer = Transformer::new(&[7; ENCRYPTION_KEY_BYTES]);
    let plain = Bytes::from_static(b"{}");
    assert_eq!(
        transformer
            .encode(kind("pods"), "k", plain.clone())
            .unwrap(),
        plain
    );
    assert_eq!(
        transformer
            .decode(kind("pods"), "k", plain.clone())
            .unwrap(),
        plain
    );
    // Written before encryption was on.
    assert_eq!(
        transformer
            .decode(kind("secrets"), "k", plain.clone())
            .unwrap(),
        plain
    );
}

#[test]
fn reads_what_upstream_stores() {
    let read: ReadProtobuf = |bytes| match bytes {
        b"k8s\0map" => Ok(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        b"k8s\0old" => Ok(serde_json::json!({"apiVersion": "v0", "kind": "ConfigMap"})),
        _ => Err("no message".to_owned()),
    };
    let transformer = Transformer::new(&[7; ENCRYPTION_KEY_BYTES]).reading_protobuf(read);
    let decode = |value: &'static [u8]| {
        let decoded = transformer.decode(kind("configmaps"), "/k", Bytes::from_static(value));
        decoded.map_err(|error| error.to_string())
    };
    let json = Bytes::from_static(br#"{"apiVersion":"v1","kind":"ConfigMap"}"#);
    assert_eq!(decode(b"k8s\0map"), Ok(json));
    assert!(transformer.is_stale(kind("configmaps"), b"k8s\0map"));
    let told = |why: &str| Err(format!("cannot read the protobuf message of /k: {why}"));
    assert_eq!(decode(b"k8s\0old"), told("it is of v0, not of v1"));
    assert_eq!(decode(b"k8s\0"), told("no message"));
}
