use std::sync::Arc;

use knarr_auth::testing::{Fake, kind, user};
use serde_json::json;

use super::*;
use crate::testing::Write;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// A namespace of these labels, without their prefix.
fn namespace(name: &str, labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<_, _> = labels
        .iter()
        .map(|(key, value)| (format!("{PREFIX}{key}"), json!(value)))
        .collect();
    json!({"metadata": {"name": name, "labels": labels}})
}

fn cluster(labels: &[(&str, &str)]) -> (Arc<Fake>, PodSecurity) {
    let fake = Fake::new();
    fake.put("", "namespaces", namespace("ns", labels));
    (fake.clone(), PodSecurity::new(fake, Arc::default()))
}

/// A pod of one container with this security context.
fn pod(name: &str, context: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "image": "i", "securityContext": context}]},
    })
}

fn privileged() -> Value {
    pod("p", json!({"privileged": true}))
}

fn create(object: Value) -> Write {
    Write::create(kind("", "pods", "Pod"), user("ann", &[]), object)
}

fn update(old: Value, object: Value) -> Write {
    Write::update(kind("", "pods", "Pod"), user("ann", &[]), old, object)
}

/// The refusal of a write, and its warnings.
async fn outcome(write: Write, plugin: &PodSecurity) -> (String, String) {
    let (result, warnings) = write.warned(plugin).await;
    let refused = result.err().map(|status| status.message);
    (refused.unwrap_or_default(), warnings)
}

const FLAW: &str = "privileged (container \"c\" must not set securityContext.privileged=true)";

#[tokio::test]
async fn audits_tell_what_was_enforced() {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "privileged:latest"),
        (&[("enforce-version", "v1.30")], "privileged:latest"),
        (&[("audit", "baseline")], "privileged:latest"),
        (
            &[("enforce", "baseline"), ("enforce-version", "v1.30")],
            "baseline:v1.30",
        ),
    ];
    for (labels, enforced) in cases {
        let (_fake, plugin) = cluster(labels);
        let annotations = create(privileged()).annotated(&plugin).await;
        let found = annotations.get(AUDIT_ENFORCED).map(String::as_str);
        assert_eq!(found, Some(enforced), "{labels:?}");
    }
}

#[tokio::test]
async fn each_mode_has_its_say() {
    let refused =
        |level: &str| format!("pods \"p\" is forbidden: violates PodSecurity \"{level}\": {FLAW}");
    let warned = |level: &str| format!("would violate PodSecurity \"{level}\": {FLAW}");
    let none = String::new;
    for (labels, wanted) in [
        (&[][..], (none(), none())),
        (&[("enforce", "privileged")], (none(), none())),
        (
            &[("enforce", "baseline")],
            (refused("baseline:latest"), none()),
        ),
        (
            &[("enforce", "baseline"), ("enforce-version", "v1.30")],
            (refused("baseline:v1.30"), none()),
        ),
        (&[("audit", "baseline")], (none(), none())),
        (
            &[("warn", "baseline"), ("warn-version", "v1.99")],
            (none(), warned("baseline:v1.99")),
        ),
        (
            &[("enforce", "baseline"), ("warn", "privileged")],
            (refused("baseline:latest"), none()),
        ),
    ] {
        let (_, plugin) = cluster(labels);
        assert_eq!(
            outcome(create(privileged()), &plugin).await,
            wanted,
            "{labels:?}"
        );
        let fine = outcome(create(pod("p", json!({}))), &plugin).await;
        assert_eq!(fine, (none(), none()), "{labels:?}");
    }
    // Whatever it is that cannot be read, pods are not let through for it.
    let (_, plugin) = cluster(&[("enforce", "strict")]);
    let (refused, warnings) = outcome(create(privileged()), &plugin).await;
    assert!(refused.contains("violates PodSecurity \"restricted:latest\": privileged ("));
    assert_eq!(warnings, "");
    let (fake, plugin) = cluster(&[]);
    fake.remove("", "namespaces", "", "ns");
    let status = create(privileged()).run(&plugin).await.unwrap_err();
    assert_eq!(status.code, 500);
    assert!(status.message.contains("failed to lookup namespace \"ns\""));
}

#[tokio::test]
async fn an_update_counts_where_images_or_containers_change() {
    let (_, plugin) = cluster(&[("enforce", "baseline")]);
    let old = privileged();
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = json!("other");
    let mut joined = old.clone();
    joined["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
    for (subresource, new, refused) in [
        ("", &labelled, false),
        ("", &image, true),
        ("status", &image, false),
        ("binding", &image, false),
        ("resize", &labelled, false),
        ("resize", &image, true),
        ("ephemeralcontainers", &joined, true),
        ("unheard-of", &joined, true),
    ] {
        let write = Write {
            subresource,
            ..update(old.clone(), new.clone())
        };
        let told = outcome(write, &plugin).await.0;
        assert_eq!(!told.is_empty(), refused, "{subresource} {new}");
    }
    // Of containers that joined before, those with other images count; one that goes does not.
    let mut other = joined.clone();
    other["spec"]["ephemeralContainers"][0]["image"] = json!("other");
    for (old, new, significant) in [
        (&joined, &joined, false),
        (&joined, &other, true),
        (&joined, &privileged(), false),
    ] {
        assert_eq!(is_significant_update(new, old), significant);
    }
}

#[tokio::test]
async fn templates_are_warned_of() {
    let labels = [("enforce", "restricted"), ("warn", "baseline")];
    let (_, plugin) = cluster(&labels);
    let template = json!({"spec": privileged()["spec"]});
    let spec = json!({"template": template});
    let job = json!({"jobTemplate": {"spec": spec}});
    let warned = format!("would violate PodSecurity \"baseline:latest\": {FLAW}");
    for (group, resource, name, object) in [
        ("apps", "deployments", "Deployment", json!({"spec": spec})),
        ("apps", "replicasets", "ReplicaSet", json!({"spec": spec})),
        ("apps", "statefulsets", "StatefulSet", json!({"spec": spec})),
        ("apps", "daemonsets", "DaemonSet", json!({"spec": spec})),
        ("batch", "jobs", "Job", json!({"spec": spec})),
        ("batch", "cronjobs", "CronJob", json!({"spec": job})),
        (
            "",
            "podtemplates",
            "PodTemplate",
            json!({"template": template}),
        ),
        (
            "",
            "replicationcontrollers",
            "ReplicationController",
            json!({"spec": spec}),
        ),
        (
            "",
            "replicationcontrollers",
            "ReplicationController",
            json!({"spec": {}}),
        ),
        ("", "configmaps", "ConfigMap", json!({"spec": spec})),
    ] {
        let write = |subresource| Write {
            namespace: "ns",
            subresource,
            ..Write::create(
                kind(group, resource, name),
                user("ann", &[]),
                object.clone(),
            )
        };
        let has_pods = resource != "configmaps" && object["spec"] != json!({});
        let wanted = if has_pods {
            warned.clone()
        } else {
            String::new()
        };
        assert_eq!(
            outcome(write(""), &plugin).await,
            (String::new(), wanted),
            "{resource}"
        );
        let nothing = (String::new(), String::new());
        assert_eq!(
            outcome(write("status"), &plugin).await,
            nothing,
            "{resource}"
        );
    }
}

#[tokio::test]
async fn labels_that_say_nothing_are_refused() {
    let (_, plugin) = cluster(&[]);
    let namespaces = || kind("", "namespaces", "Namespace");
    let why = |key: &str, value: &str, rule: &str| {
        format!("metadata.labels[{PREFIX}{key}]: Invalid value: \"{value}\": {rule}")
    };
    let level = "must be one of privileged, baseline, restricted";
    let version = "must be \"latest\" or \"v1.x\"";
    for (key, value, rule) in [
        ("enforce", "", level),
        ("audit", "Baseline", level),
        ("warn", "strict", level),
        ("enforce-version", "1.30", version),
        ("audit-version", "v1.01", version),
        ("warn-version", "v1.", version),
        ("warn-version", "v1.99999999999999999999", version),
        ("warn-version", "v2.0", version),
    ] {
        let object = namespace("n", &[(key, value)]);
        let created = Write::create(namespaces(), user("ann", &[]), object.clone());
        let status = created.run(&plugin).await.unwrap_err();
        let wanted = format!("Namespace \"n\" is invalid: {}", why(key, value, rule));
        assert_eq!((status.code, status.message), (422, wanted));
        // What was wrong before may stay, but not become wrong, or wrong otherwise.
        let old = [(namespace("n", &[]), true), (object.clone(), false)];
        for (old, refused) in old {
            let updated = Write::update(namespaces(), user("ann", &[]), old, object.clone());
            assert_eq!(
                updated.run(&plugin).await.is_err(),
                refused,
                "{key}={value}"
            );
        }
    }
    let two = namespace("n", &[("enforce", "x"), ("warn-version", "y")]);
    let status = Write::create(namespaces(), user("ann", &[]), two);
    let status = status.run(&plugin).await.unwrap_err();
    let (first, second) = (
        why("enforce", "x", level),
        why("warn-version", "y", version),
    );
    assert_eq!(
        status.message,
        format!("Namespace \"n\" is invalid: [{first}, {second}]")
    );
}

/// The warnings of a change of labels.
async fn relabelled(
    plugin: &PodSecurity,
    old: &[(&str, &str)],
    new: &[(&str, &str)],
) -> Vec<String> {
    let (old, new) = (namespace("ns", old), namespace("ns", new));
    let write = Write::update(
        kind("", "namespaces", "Namespace"),
        user("ann", &[]),
        old,
        new,
    );
    let (refused, warnings) = outcome(write, plugin).await;
    assert_eq!(refused, "");
    warnings.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn pods_that_are_there_are_told_of_when_a_level_rises() {
    let (fake, plugin) = cluster(&[]);
    let mut owned = pod("z", json!({"privileged": true}));
    owned["metadata"]["ownerReferences"] = json!([{"uid": "u", "controller": true}]);
    for (name, of) in [
        ("b", privileged()),
        ("a", privileged()),
        ("z", owned.clone()),
        ("y", owned),
    ] {
        let mut of = of;
        of["metadata"]["name"] = json!(name);
        fake.put("", "pods", of);
    }
    let mut on_host = pod("host", json!({}));
    on_host["spec"]["hostPID"] = json!(true);
    fake.put("", "pods", on_host);
    fake.put("", "pods", pod("fine", json!({})));
    let baseline = [("enforce", "baseline")];
    let told = [
        "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
        "a (and 3 other pods): privileged",
        "host: host namespaces",
    ];
    assert_eq!(relabelled(&plugin, &[], &baseline).await, told);
    let nothing: [&str; 0] = [];
    // Not stricter than before, or not enforced.
    for (old, new) in [
        (&baseline[..], &baseline[..]),
        (&[("enforce", "restricted")], &baseline),
        (&baseline, &[]),
        (
            &baseline,
            &[("enforce", "privileged"), ("enforce-version", "v1.2")],
        ),
        (&[], &[("warn", "restricted"), ("audit", "restricted")]),
    ] {
        assert_eq!(
            relabelled(&plugin, old, new).await,
            nothing,
            "{old:?} {new:?}"
        );
    }
    let other_version = [("enforce", "baseline"), ("enforce-version", "v1.20")];
    assert_eq!(
        relabelled(&plugin, &baseline, &other_version).await.len(),
        3
    );
    fake.remove("", "pods", "ns", "host");
    fake.remove("", "pods", "ns", "y");
    fake.remove("", "pods", "ns", "z");
    assert_eq!(
        relabelled(&plugin, &[], &baseline).await[1],
        "a (and 1 other pod): privileged"
    );
}

#[tokio::test]
async fn no_more_pods_are_looked_at_than_upstream_does() {
    let (fake, plugin) = cluster(&[]);
    // One controller has all but the last, which is looked at all the same.
    for number in 0..existing::MAX_PODS + 10 {
        let mut fine = pod(&format!("p{number:05}"), json!({}));
        fine["metadata"]["ownerReferences"] = json!([{"uid": "u", "controller": true}]);
        fake.put("", "pods", fine);
    }
    fake.put("", "pods", pod("z", json!({"privileged": true})));
    // As if it took no time.
    tokio::time::pause();
    assert_eq!(
        relabelled(&plugin, &[], &[("enforce", "baseline")]).await,
        [
            "new PodSecurity enforce level only checked against the first 3000 of 3011 existing pods",
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "z: privileged",
        ]
    );
}

/// A plugin that was told something, in a namespace of these labels.
fn told(labels: &[(&str, &str)], said: Value) -> PodSecurity {
    let mut said = said;
    said["apiVersion"] = json!("pod-security.admission.config.k8s.io/v1");
    said["kind"] = json!("PodSecurityConfiguration");
    let (fake, _) = cluster(labels);
    let settings = Settings::parse(said).expect("settings");
    PodSecurity::new(fake, Arc::new(settings))
}

#[tokio::test]
async fn defaults_count_where_labels_say_nothing() {
    let said = json!({"defaults": {"enforce": "baseline", "enforce-version": "v1.30"}});
    let plugin = told(&[], said.clone());
    let (refused, _) = outcome(create(privileged()), &plugin).await;
    assert!(
        refused.contains("violates PodSecurity \"baseline:v1.30\""),
        "{refused}"
    );
    let plugin = told(&[("enforce", "privileged")], said);
    let (refused, warnings) = outcome(create(privileged()), &plugin).await;
    assert_eq!((&*refused, &*warnings), ("", ""));
}

#[tokio::test]
async fn who_is_exempt_is_counted_and_not_judged() {
    let labels = [("enforce", "baseline")];
    let mut classed = privileged();
    classed["spec"]["runtimeClassName"] = json!("kata");
    for (said, pod) in [
        (json!({"usernames": ["ann"]}), privileged()),
        (json!({"namespaces": ["ns"]}), privileged()),
        (json!({"runtimeClasses": ["kata"]}), classed),
    ] {
        let plugin = told(&labels, json!({"exemptions": said}));
        let (refused, _) = outcome(create(pod), &plugin).await;
        assert_eq!(refused, "", "{said}");
        let mut page = String::new();
        plugin.settings.metrics.render(&mut page);
        let line = "pod_security_exemptions_total{request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1\n";
        assert!(page.contains(line), "{page}");
    }
    let others = json!({"exemptions": {"usernames": ["ben"], "namespaces": ["other"], "runtimeClasses": ["kata"]}});
    let plugin = told(&labels, others);
    let (refused, _) = outcome(create(privileged()), &plugin).await;
    assert_ne!(refused, "");
    let mut page = String::new();
    plugin.settings.metrics.render(&mut page);
    let line = "pod_security_evaluations_total{decision=\"deny\",mode=\"enforce\",policy_level=\"baseline\",policy_version=\"latest\",request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1\n";
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn labels_of_an_exempt_namespace_are_warned_of() {
    let plugin = told(&[], json!({"exemptions": {"namespaces": ["ns"]}}));
    let labelled = namespace("ns", &[("enforce", "baseline"), ("warn", "restricted")]);
    let namespaces = || kind("", "namespaces", "Namespace");
    let warned = "namespace \"ns\" is exempt from Pod Security, and the policy (enforce=baseline:latest, warn=restricted:latest) will be ignored";
    let made = Write::create(namespaces(), user("ann", &[]), labelled.clone());
    let (refused, warnings) = outcome(made, &plugin).await;
    assert_eq!((&*refused, &*warnings), ("", warned));
    let changed = Write::update(
        namespaces(),
        user("ann", &[]),
        namespace("ns", &[]),
        labelled,
    );
    let (refused, warnings) = outcome(changed, &plugin).await;
    assert_eq!((&*refused, &*warnings), ("", warned));
}
