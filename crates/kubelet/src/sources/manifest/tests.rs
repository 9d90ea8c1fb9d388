use serde_json::json;

use super::*;

const SPEC: &str = "spec: {containers: [{name: main, image: web:1}]}";

fn file(name: &str) -> Origin {
    Origin::File(name.into())
}

fn read(text: &str) -> Result<Pod, String> {
    pod(text.as_bytes(), &file("/m/web.yaml"), "n1")
}

fn web(meta: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web{meta}}}, spec: {{containers: [{{name: main, image: web:1}}]{spec}}}}}"
    )
}

#[test]
fn a_manifest_becomes_a_pod_of_this_node() {
    let pod = read(&web(", labels: {app: web}, uid: mine", "")).unwrap();
    let meta = &pod.metadata;
    assert_eq!(meta.name.as_deref(), Some("web-n1"));
    assert_eq!(meta.namespace.as_deref(), Some("default"));
    let uid = meta.uid.clone().unwrap();
    assert_eq!(uid.len(), UID_DIGITS);
    let annotations = meta.annotations.clone().unwrap();
    assert_eq!(annotations[HASH], uid);
    assert_eq!(annotations[SOURCE], "file");
    let spec = serde_json::to_value(&pod.spec).unwrap();
    assert_eq!(spec["nodeName"], "n1");
    assert_eq!(spec["restartPolicy"], "Always", "no defaults");
    assert_eq!(
        spec["tolerations"],
        json!([{ "operator": "Exists", "effect": "NoExecute" }])
    );
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[test]
fn what_is_written_otherwise_is_another_pod() {
    let uid = |text: &str, from: &Origin, node: &str| {
        let pod = pod(text.as_bytes(), from, node).unwrap();
        pod.metadata.uid.unwrap()
    };
    let text = web("", "");
    let first = uid(&text, &file("/m/a"), "n1");
    let same = format!("# a comment\n{text}");
    assert_eq!(uid(&same, &file("/m/a"), "n1"), first);
    assert_ne!(uid(&text, &file("/m/b"), "n1"), first);
    assert_ne!(uid(&text, &file("/m/a"), "n2"), first);
    assert_ne!(uid(&text, &Origin::Http("/m/a".into()), "n1"), first);
    assert_ne!(uid(&web(", uid: mine", ""), &file("/m/a"), "n1"), first);
    assert_ne!(
        uid(&web("", ", hostNetwork: true"), &file("/m/a"), "n1"),
        first
    );
}

#[test]
fn what_is_no_pod_is_refused() {
    for (text, wanted) in [
        ("", "invalid pod: it is apiVersion \"\", kind \"\""),
        ("a: [", ""),
        ("{apiVersion: apps/v1, kind: Deployment}", "not a Pod of v1"),
        ("{apiVersion: v1, kind: Pod}", "name is needed"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: [1]}}",
            "invalid pod: ",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
            "spec.containers: Required value",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: A_}, spec: {containers: [{name: m, image: i}]}}",
            "metadata.name: Invalid value",
        ),
        (
            "{apiVersion: v1, kind: PodList, items: []}",
            "not a Pod of v1",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn what_needs_the_api_is_refused() {
    let volume = |source: &str| format!(", volumes: [{{name: v, {source}}}]");
    let projected = |source: &str| volume(&format!("projected: {{sources: [{{{source}}}]}}"));
    for (spec, wanted) in [
        (", serviceAccountName: a".to_owned(), "serviceaccounts"),
        (", imagePullSecrets: [{name: s}]".to_owned(), "secrets"),
        (
            ", initContainers: [{name: i, image: i, envFrom: [{secretRef: {name: s}}]}]".to_owned(),
            "secrets",
        ),
        (
            ", initContainers: [{name: i, image: i, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}]"
                .to_owned(),
            "configmaps",
        ),
        (volume("configMap: {name: c}"), "configmaps (via configmap volumes)"),
        (volume("secret: {secretName: s}"), "secrets (via secret volumes)"),
        (
            volume("persistentVolumeClaim: {claimName: c}"),
            "persistentvolumeclaims",
        ),
        (
            projected("configMap: {name: c}"),
            "configmaps (via projected volumes)",
        ),
    ] {
        let error = read(&web("", &spec)).unwrap_err();
        assert_eq!(error, format!("static pods may not reference {wanted}"), "{spec}");
    }
    // Validation knows that one before.
    let error = read(&web("", &projected("serviceAccountToken: {path: t}"))).unwrap_err();
    assert!(error.contains("serviceAccountName is not set"), "{error}");
    let own = volume("emptyDir: {}") + ", hostNetwork: true";
    assert!(read(&web("", &own)).is_ok());
    let shown =
        projected("downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}");
    assert!(read(&web("", &shown)).is_ok());
}

#[test]
fn a_url_may_have_a_list() {
    let from = Origin::Http("http://x/".into());
    let read = |text: &str| pods(text.as_bytes(), &from, "n1");
    let item = |name: &str| format!("{{metadata: {{name: {name}}}, {SPEC}}}");
    let list = format!(
        "{{apiVersion: v1, kind: PodList, items: [{}, {}]}}",
        item("a"),
        item("b")
    );
    let names = |pods: Vec<Pod>| -> Vec<String> {
        pods.into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect()
    };
    assert_eq!(names(read(&list).unwrap()), ["a-n1", "b-n1"]);
    assert_eq!(names(read(&web("", "")).unwrap()), ["web-n1"]);
    let pod = read(&web("", "")).unwrap().remove(0);
    assert_eq!(pod.spec.unwrap().tolerations, None, "they are for files");
    let broken = format!(
        "{{apiVersion: v1, kind: PodList, items: [{}, {{}}]}}",
        item("a")
    );
    assert!(read(&broken).is_err());
}
