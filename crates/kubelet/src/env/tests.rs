use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::{object, pod};

#[test]
fn references_expand_as_upstreams_do() {
    let look = |name: &str| match name {
        "A" => Some("one"),
        "B" => Some("$(A)"),
        "EMPTY" => Some(""),
        _ => None,
    };
    for (input, expected) in [
        ("$(A)", "one"),
        ("x$(A)y$(A)z", "xoneyonez"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$(B)", "$(A)"),
        ("$(NO)", "$(NO)"),
        ("$(EMPTY)!", "!"),
        ("$A", "$A"),
        ("cost: 5$", "cost: 5$"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("ü$(A)é", "üoneé"),
        ("$é", "$é"),
    ] {
        assert_eq!(expand::expand(input, look), expected, "{input}");
    }
}

fn source() -> Source {
    let mut source = Source::default();
    let map = json!({ "metadata": { "name": "cm" }, "data": { "good": "1", "a=b": "2" } });
    source
        .config_maps
        .insert("cm".to_owned(), Arc::new(object(map)));
    let secret = json!({ "metadata": { "name": "s" }, "data": { "key": "dmFsdWU=" } });
    source
        .secrets
        .insert("s".to_owned(), Arc::new(object(secret)));
    for (namespace, name, ip) in [
        ("default", "kubernetes", "10.43.0.1"),
        ("shop", "my-db", "10.43.0.9"),
        ("shop", "headless", "None"),
        ("other", "far", "10.43.0.8"),
    ] {
        source.services.push(Arc::new(object(json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "clusterIP": ip, "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }] },
        }))));
    }
    source
}

fn variables(container: serde_json::Value) -> Result<Environment, Error> {
    let pod = pod(json!({ "containers": [container], "enableServiceLinks": true }));
    make(&pod, &pod.spec.as_ref().unwrap().containers[0], &source())
}

fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    environment
        .variables
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

#[test]
fn variables_come_from_everywhere() {
    let made = variables(json!({ "name": "c",
        "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "cm" } }, { "configMapRef": { "name": "no", "optional": true } },
            { "prefix": "S_", "secretRef": { "name": "s" } }, { "secretRef": { "name": "no", "optional": true } }],
        "env": [
            { "name": "FIRST", "value": "1" },
            { "name": "SECOND", "value": "$(FIRST)$(P_good)$(MY_DB_SERVICE_HOST)" },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "s", "key": "key" } } },
            { "name": "GONE", "valueFrom": { "secretKeyRef": { "name": "s", "key": "no", "optional": true } } },
            { "name": "MAP", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "good" } } },
            { "name": "MAP_GONE", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "no", "optional": true } } },
            { "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "KUBERNETES_SERVICE_HOST", "value": "mine" },
        ],
    })).unwrap();
    assert_eq!(get(&made, "SECOND"), Some("1110.43.0.9"));
    assert_eq!(get(&made, "SECRET"), Some("value"));
    assert_eq!(get(&made, "GONE"), None);
    assert_eq!(get(&made, "MAP"), Some("1"));
    assert_eq!(get(&made, "MAP_GONE"), None);
    assert_eq!(get(&made, "S_key"), Some("value"));
    assert_eq!(get(&made, "NAME"), Some("web"));
    assert_eq!(get(&made, "KUBERNETES_SERVICE_HOST"), Some("mine"));
    assert_eq!(get(&made, "KUBERNETES_SERVICE_PORT_SQL"), Some("5432"));
    assert_eq!(
        get(&made, "MY_DB_PORT_5432_TCP"),
        Some("tcp://10.43.0.9:5432")
    );
    assert_eq!(get(&made, "FAR_SERVICE_HOST"), None);
    assert_eq!(get(&made, "HEADLESS_SERVICE_HOST"), None);
    assert_eq!(
        made.skipped,
        [Skipped {
            kind: "configMap",
            name: "cm".into(),
            keys: vec!["P_a=b".into()]
        }]
    );
}

#[test]
fn a_pod_may_do_without_links_to_services() {
    let pod = pod(json!({ "containers": [{ "name": "c" }], "enableServiceLinks": false }));
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let made = make(&pod, container, &source()).unwrap();
    assert_eq!(get(&made, "MY_DB_SERVICE_HOST"), None);
    assert_eq!(get(&made, "KUBERNETES_SERVICE_HOST"), Some("10.43.0.1"));
}

#[test]
fn what_is_missing_is_told() {
    for (container, message) in [
        (
            json!({ "name": "c", "envFrom": [{ "configMapRef": { "name": "no" } }] }),
            "configmap \"no\" not found",
        ),
        (
            json!({ "name": "c", "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "s", "key": "no" } } }] }),
            "couldn't find key no in Secret shop/s",
        ),
        (
            json!({ "name": "c", "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "no", "key": "k" } } }] }),
            "configmap \"no\" not found",
        ),
    ] {
        assert_eq!(variables(container).unwrap_err().to_string(), message);
    }
}

#[test]
fn variables_of_files() {
    let mut source = source();
    let file = |path: &str| ("shared".to_owned(), path.to_owned());
    source
        .files
        .insert(file("a.env"), b"A='one'\nB=''\n".to_vec());
    source.files.insert(file("b.env"), b"A=one".to_vec());
    let of = |path: &str, key: &str, optional: bool| {
        let pod = pod(json!({ "containers": [{
            "name": "c",
            "env": [{ "name": "V", "valueFrom": { "fileKeyRef": {
                "volumeName": "shared", "path": path, "key": key, "optional": optional,
            } } }],
        }] }));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let made = make(&pod, container, &source)?;
        Ok(made
            .variables
            .into_iter()
            .find(|(name, _)| name == "V")
            .map(|(_, value)| value))
    };
    assert_eq!(of("a.env", "A", false), Ok(Some("one".to_owned())));
    assert_eq!(of("a.env", "B", true), Ok(None));
    let missing = Error::FileKeyMissing {
        key: "B".to_owned(),
        path: "a.env".to_owned(),
    };
    assert_eq!(of("a.env", "B", false), Err(missing));
    assert_eq!(of("b.env", "A", true), Err(Error::File));
    assert_eq!(of("c.env", "A", false), Err(Error::File));
    assert_eq!(of("c.env", "A", true), Ok(None));
}
