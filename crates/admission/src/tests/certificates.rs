//! NodeRestriction's part for PodCertificateRequests.

use super::*;

fn requests() -> &'static Arc<Kind> {
    kind(
        "certificates.k8s.io",
        "podcertificaterequests",
        "PodCertificateRequest",
    )
}

fn asked(field: &str, value: &str) -> Value {
    let mut spec = json!({
        "signerName": "a.b/c", "podName": "p", "podUID": "uid-p", "serviceAccountName": "sa", "serviceAccountUID": "uid-sa",
        "nodeName": "one", "nodeUID": "uid-one",
    });
    spec[field] = value.into();
    json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": spec})
}

fn stored(fake: &Fake) {
    let pod = |name: &str, node: &str, account: &str, annotations: Value| {
        json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "annotations": annotations},
            "spec": {"nodeName": node, "serviceAccountName": account, "volumes": [
                {"projected": {"sources": [{"podCertificate": {"signerName": "a.b/c"}}]}},
            ]},
        })
    };
    fake.put("", "pods", pod("p", "one", "sa", json!({})));
    fake.put("", "pods", pod("q", "two", "sa", json!({})));
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    fake.put("", "pods", pod("m", "one", "sa", mirror));
    let node = json!({"metadata": {"name": "one", "uid": "uid-one"}});
    fake.put("", "nodes", node);
    let account = json!({"metadata": {"name": "sa", "namespace": "ns", "uid": "uid-sa"}});
    fake.put("", "serviceaccounts", account);
}

#[tokio::test]
async fn kubelets_ask_for_their_own_pods_only() {
    let fake = Fake::new();
    stored(&fake);
    let plugin = node_restriction(fake);
    for (field, value, code, why) in [
        ("podName", "p", 0, ""),
        (
            "nodeName",
            "two",
            403,
            "PodCertificateRequest.Spec.NodeName=\"two\", which is not the requesting node \"one\"",
        ),
        (
            "nodeUID",
            "old",
            500,
            "PodCertificateRequest for pod \"ns/p\" names node UID \"old\", inconsistent with the running node (\"uid-one\")",
        ),
        ("podName", "gone", 500, "pods \"gone\" not found"),
        (
            "podUID",
            "old",
            500,
            "PodCertificateRequest for pod \"ns/p\" contains pod UID (\"old\") which differs from running pod \"uid-p\"",
        ),
        (
            "serviceAccountName",
            "other",
            403,
            "contains serviceAccountName (\"other\") that differs from running pod (\"sa\")",
        ),
        (
            "serviceAccountUID",
            "old",
            500,
            "names service account UID \"old\", which differs from the running service account (\"uid-sa\")",
        ),
        (
            "signerName",
            "x.y/z",
            403,
            "pod \"ns/p\" does not mount a podCertificate projected volume for signer \"x.y/z\"",
        ),
    ] {
        let write = Write::create(requests(), kubelet(), asked(field, value));
        match write.run(&plugin).await {
            Ok(_) => assert_eq!(code, 0, "{field}={value}"),
            Err(status) => {
                assert_eq!(status.code, code, "{field}={value}: {}", status.message);
                assert!(status.message.contains(why), "{}", status.message);
            }
        }
    }
    for (name, why) in [
        (
            "q",
            "pod \"ns/q\" is not running on node \"one\" named in the PodCertificateRequest",
        ),
        ("m", "pod \"ns/m\" is a mirror pod"),
    ] {
        let mut object = asked("podName", name);
        object["spec"]["podUID"] = format!("uid-{name}").into();
        let message = refused(Write::create(requests(), kubelet(), object), &plugin).await;
        assert!(message.ends_with(why), "{message}");
    }
    let update = Write::update(requests(), kubelet(), asked("a", "b"), asked("a", "c"));
    let message = refused(update, &plugin).await;
    assert!(
        message.ends_with("unexpected operation UPDATE"),
        "{message}"
    );
}
