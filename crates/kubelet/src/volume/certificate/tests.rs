use serde_json::{Value, json};

use super::*;

fn request(status: Value) -> PodCertificateRequest {
    serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {}, "status": status}))
        .unwrap()
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Why", "message": "m", "lastTransitionTime": "2030-01-01T00:00:00Z"})
}

#[test]
fn what_a_signer_says_is_final() {
    assert_eq!(outcome(&request(json!({}))), Outcome::Waiting);
    assert_eq!(outcome(&request(Value::Null)), Outcome::Waiting);
    for reason in ["Denied", "Failed"] {
        assert_eq!(
            outcome(&request(json!({"conditions": [condition(reason)]}))),
            Outcome::Refused {
                reason,
                message: "reason=\"Why\" message=\"m\"".to_owned(),
            }
        );
    }
    let leaf = pem::encode(pem::CERTIFICATE, b"leaf");
    let issued = request(json!({
        "conditions": [condition("Issued")],
        "certificateChain": format!("noise\n{leaf}"),
        "beginRefreshAt": "2030-01-01T01:00:00Z",
        "notAfter": "2030-01-01T02:00:00Z",
    }));
    assert_eq!(
        outcome(&issued),
        Outcome::Issued {
            chain: leaf,
            begin_refresh: "2030-01-01T01:00:00Z".parse().unwrap(),
            not_after: "2030-01-01T02:00:00Z".parse().unwrap(),
        }
    );
}

#[test]
fn files_are_those_that_were_asked_for() {
    let bundle = Bundle {
        key: "K".to_owned(),
        chain: "C".to_owned(),
        refresh_at: Timestamp::MAX,
    };
    let source = |paths: Value| -> PodCertificateProjection {
        let mut source = json!({"signerName": "a.b/c", "keyType": "ED25519"});
        for (field, path) in paths.as_object().unwrap() {
            source[field] = path.clone();
        }
        serde_json::from_value(source).unwrap()
    };
    let shown = |paths: Value| -> Vec<(String, String)> {
        files(&source(paths), &bundle)
            .into_iter()
            .map(|(path, content)| (path.to_owned(), String::from_utf8(content).unwrap()))
            .collect()
    };
    let pair = |path: &str, content: &str| (path.to_owned(), content.to_owned());
    assert_eq!(
        shown(json!({"credentialBundlePath": "both"})),
        [pair("both", "KC")]
    );
    assert_eq!(
        shown(json!({"keyPath": "k", "certificateChainPath": "c", "credentialBundlePath": ""})),
        [pair("k", "K"), pair("c", "C")]
    );
}
