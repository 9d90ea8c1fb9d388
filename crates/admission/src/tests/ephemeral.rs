//! Containers that join a running pod.

use super::*;

fn join(account: &str, container: Value) -> Write {
    let old = pod(json!({"serviceAccountName": account, "containers": [{"name": "a"}]}));
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([container]);
    Write {
        subresource: "ephemeralcontainers",
        ..Write::update(pods(), ann(), old, new)
    }
}

#[tokio::test]
async fn they_use_no_secrets_that_their_account_does_not_list() {
    let fake = accounts();
    fake.put(
        "",
        "serviceaccounts",
        json!({
            "metadata": {"name": "strict", "namespace": "ns", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
            "secrets": [{"name": "mine"}],
        }),
    );
    let plugin = ServiceAccount::new(fake);
    let variable = |secret: &str| {
        let source = json!({"secretKeyRef": {"name": secret, "key": "k"}});
        json!({"name": "e", "env": [{"name": "V", "valueFrom": source}]})
    };
    let whole = |secret: &str| json!({"name": "e", "envFrom": [{"secretRef": {"name": secret}}]});
    for container in [variable("mine"), whole("mine")] {
        let joined = join("strict", container).run(&plugin).await.unwrap();
        // Nothing is mounted into what runs already.
        assert!(joined["spec"].get("volumes").is_none());
    }
    let because = "referencing secret.secretName=\"theirs\" is not allowed because service account strict does not reference that secret";
    for (container, what) in [
        (variable("theirs"), "e with envVar V"),
        (whole("theirs"), "e with envFrom"),
    ] {
        assert!(
            join("default", container.clone())
                .run(&plugin)
                .await
                .is_ok()
        );
        assert_eq!(
            refused(join("strict", container), &plugin).await,
            format!("pods \"p\" is forbidden: ephemeral container {what} {because}")
        );
    }
    assert_eq!(
        refused(join("", json!({"name": "e"})), &plugin).await,
        "pods \"p\" is forbidden: no service account specified for pod ns/p"
    );
    assert_eq!(
        refused(join("gone", json!({"name": "e"})), &plugin).await,
        "pods \"p\" is forbidden: error looking up service account ns/gone: serviceaccount \"gone\" not found"
    );
}
