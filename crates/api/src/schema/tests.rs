use serde_json::{Value, json};

use super::*;

mod emptied;
mod patched;
mod pod_fields;

fn schema(name: &str) -> &'static Schema {
    definition(name).unwrap_or_else(|| panic!("no definition {name}"))
}

fn deployment() -> &'static Schema {
    schema("io.k8s.api.apps.v1.Deployment")
}

#[test]
fn every_definition_decodes() {
    let mut fields = 0;
    let mut previous = "";
    let descriptions = descriptions();
    for name in names() {
        assert!(previous < name, "{previous} before {name}");
        previous = name;
        let definition = schema(name).definition().unwrap();
        assert_eq!(definition.name, name);
        assert!(
            definition.fields().is_sorted_by(|a, b| a.name < b.name),
            "{name}"
        );
        for field in definition.fields() {
            assert!(
                field
                    .description
                    .is_none_or(|number| descriptions.get(number).is_some()),
                "{name}.{}",
                field.name
            );
        }
        fields += definition.fields().len();
    }
    assert_eq!(names().count(), 624);
    assert!(fields > 2500, "{fields} fields");
    assert!(definition("io.k8s.api.core.v1.Podd").is_none());
}

#[test]
fn marks_are_upstreams() {
    let spec = schema("io.k8s.api.core.v1.PodSpec").definition().unwrap();
    let containers = spec.field("containers").unwrap();
    assert!(containers.required);
    assert_eq!(containers.schema.merge_key(), Some("name"));
    assert_eq!(containers.schema.strategies(), [Strategy::Merge]);
    assert_eq!(containers.schema.list_type(), Some(ListType::Map));
    assert_eq!(containers.schema.list_map_keys(), ["name"]);
    let volumes = spec.field("volumes").unwrap();
    assert_eq!(
        volumes.schema.strategies(),
        [Strategy::Merge, Strategy::RetainKeys]
    );
    assert_eq!(
        spec.field("nodeSelector").unwrap().schema.map_type(),
        Some(MapType::Atomic)
    );

    let ports = schema("io.k8s.api.core.v1.Container")
        .definition()
        .unwrap()
        .field("ports")
        .unwrap();
    assert_eq!(ports.schema.list_map_keys(), ["containerPort", "protocol"]);
    let port = schema("io.k8s.api.core.v1.ContainerPort")
        .definition()
        .unwrap();
    assert_eq!(
        port.field("protocol").unwrap().schema.default_json(),
        Some("\"TCP\"")
    );

    assert_eq!(
        deployment().definition().unwrap().gvks,
        [("apps", "v1", "Deployment")]
    );
    assert!(
        schema("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
            .definition()
            .unwrap()
            .gvks
            .len()
            > 20
    );
    let selector = schema("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector");
    assert_eq!(selector.map_type(), Some(MapType::Atomic));
    let descriptions = descriptions();
    let text = descriptions
        .get(deployment().definition().unwrap().description.unwrap())
        .unwrap();
    assert_eq!(
        text,
        "Deployment enables declarative updates for Pods and ReplicaSets."
    );
}

/// A chart that begins to say `hostNetwork: false` changes nothing.
#[test]
fn what_is_zero_goes_where_absence_means_the_same() {
    let mut tree = json!({"spec": {
        "paused": false, "minReadySeconds": 0, "replicas": 0,
        "template": {"metadata": {}, "spec": {
            "hostNetwork": false, "hostPID": true, "automountServiceAccountToken": false, "serviceAccountName": "",
            "containers": [{"name": "", "tty": false, "workingDir": "", "image": "i",
                "volumeMounts": [{"name": "a", "mountPath": "", "readOnly": false, "subPath": ""}],
                "env": [{"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": "", "key": "", "optional": false}}}],
                "securityContext": {"privileged": false, "runAsUser": 0}}],
        }},
    }});
    strict::check(deployment(), &mut tree).unwrap();
    let wanted = json!({"spec": {
        "replicas": 0,
        "template": {"metadata": {}, "spec": {
            "hostPID": true, "automountServiceAccountToken": false,
            "containers": [{"name": "", "image": "i",
                "volumeMounts": [{"name": "a", "mountPath": ""}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "", "optional": false}}}],
                "securityContext": {"privileged": false, "runAsUser": 0}}],
        }},
    }});
    assert_eq!(tree, wanted);
}

#[test]
fn duplicates_are_told_and_the_last_one_wins() {
    let (tree, duplicates) = parse::json(
        br#"{"spec":{"replicas":1,"a":[{"x":1,"x":2,"x":3}],"replicas":2},"kind":"A","kind":"B"}"#,
    )
    .unwrap();
    assert_eq!(
        tree,
        json!({"spec": {"replicas": 2, "a": [{"x": 3}]}, "kind": "B"})
    );
    assert_eq!(
        duplicates,
        [
            r#"duplicate field "spec.a[0].x""#,
            r#"duplicate field "spec.replicas""#,
            r#"duplicate field "kind""#
        ]
    );
}

#[test]
fn parse_is_serde_json() {
    let text = r#"{"a":[1,-2,3.5,1e3,18446744073709551615,true,null,"\u00e9\n"],"b":{},"":""}"#;
    assert_eq!(
        parse::json(text.as_bytes()).unwrap().0,
        serde_json::from_str::<Value>(text).unwrap()
    );
    for text in ["", "{", "{} x", "{\"a\":}", &"[".repeat(1000)] {
        let error = parse::json(text.as_bytes()).unwrap_err();
        assert_eq!(error.code, 400, "{text}");
    }
}

#[test]
fn unknown_fields_go_and_are_told() {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "bar": 1,
        "metadata": {"name": "a", "labels": {"any": "thing"}, "nmae": "a"},
        "spec": {"foo": {"deep": [1]}, "template": {"spec": {"containers": [{"name": "c"}, {"name": "d", "img": "x"}]}}}
    });
    let unknown = strict::check(deployment(), &mut object).unwrap();
    assert_eq!(
        unknown,
        [
            r#"unknown field "bar""#,
            r#"unknown field "metadata.nmae""#,
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.template.spec.containers[1].img""#,
        ]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "labels": {"any": "thing"}},
            "spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "d"}]}}}
        })
    );
}

#[test]
fn strict_errors_can_be_had_in_document_order() {
    let text = br#"{"spec":{"unknown1":1,"unknown1":2,"paused":true,"paused":false,"template":{"spec":{"containers":[
        {"nope":1,"name":"a","name":"a","env":[{"name":"x","nope":1}]}]}}},"metadata":{"labels":{"a":"b","a":"c"}}}"#;
    assert_eq!(
        strict::in_document_order(deployment(), text),
        [
            r#"unknown field "spec.unknown1""#,
            r#"duplicate field "spec.paused""#,
            r#"unknown field "spec.template.spec.containers[0].nope""#,
            r#"duplicate field "spec.template.spec.containers[0].name""#,
            r#"unknown field "spec.template.spec.containers[0].env[0].nope""#,
            r#"duplicate field "metadata.labels.a""#,
        ]
    );
}

#[test]
fn type_errors_are_gos() {
    let rows = [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 3_000_000_000_u64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"args": [true]}]}}}}),
            "json: cannot unmarshal bool into Go struct field Container.spec.template.spec.containers.args of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"metadata": {"creationTimestamp": "today"}}),
            r#"parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006""#,
        ),
        (
            json!({"metadata": {"creationTimestamp": "2016-12-31T23:59:60Z"}}),
            r#"parsing time "2016-12-31T23:59:60Z": second out of range"#,
        ),
        (
            json!({"metadata": {"creationTimestamp": "2016-12-31T235959.1Z"}}),
            r#"parsing time "2016-12-31T235959.1Z" as "2006-01-02T15:04:05Z07:00": cannot parse "5959.1Z" as ":""#,
        ),
        (
            json!(["x"]),
            "json: cannot unmarshal array into Go value of type v1.Deployment",
        ),
        // A type that reads itself ends it, whatever else was wrong before.
        (
            json!({"spec": {"replicas": "3", "template": {"spec": {"overhead": {"cpu": "lots", "gpu": "1.1.1"}}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ];
    for (mut object, message) in rows {
        let error = strict::check(deployment(), &mut object).unwrap_err();
        assert_eq!(error.code, 400);
        assert_eq!(
            error.message,
            format!("Deployment in version \"v1\" cannot be handled as a Deployment: {message}")
        );
    }
    for (definition, mut object, message) in [
        (
            "io.k8s.api.core.v1.Pod",
            json!({"spec": {"containers": [{"imagePullPolicy": 7}]}}),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            "io.k8s.api.core.v1.Pod",
            json!({"spec": {"containers": [{"startupProbe": {"grpc": {"port": "a"}}}]}}),
            "json: cannot unmarshal string into Go struct field GRPCAction.spec.containers.startupProbe.ProbeHandler.grpc.port of type int32",
        ),
        (
            "io.k8s.api.apps.v1.StatefulSet",
            json!({"spec": {"volumeClaimTemplates": [{"apiVersion": 7}]}}),
            "json: cannot unmarshal number into Go struct field PersistentVolumeClaim.spec.volumeClaimTemplates.TypeMeta.apiVersion of type string",
        ),
        (
            "io.k8s.api.core.v1.Service",
            json!({"spec": {"ports": [{"targetPort": 2_147_483_648_u64}]}}),
            "json: cannot unmarshal number 2147483648 into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
            json!({"spec": {"validationActions": ["Warn", 7]}}),
            "json: cannot unmarshal number into Go struct field ValidatingAdmissionPolicyBindingSpec.spec.validationActions of type v1.ValidationAction",
        ),
        (
            "io.k8s.api.certificates.v1.CertificateSigningRequest",
            json!({"spec": {"extra": {"a": {"b": "c"}}}}),
            "json: cannot unmarshal object into Go struct field CertificateSigningRequestSpec.spec.extra of type v1.ExtraValue",
        ),
        (
            "io.k8s.api.coordination.v1.Lease",
            json!({"spec": {"acquireTime": 7}}),
            "json: cannot unmarshal number into Go struct field LeaseSpec.spec.acquireTime of type string",
        ),
    ] {
        let error = strict::decode(schema(definition), &mut object).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn broken_base64_is_told_where_go_finds_it() {
    let secret = schema("io.k8s.api.core.v1.Secret");
    for (text, place) in [
        ("a*b=", 1),
        ("YQ==0", 4),
        ("YQ==\n0", 5),
        ("YWI=0", 4),
        ("Y\nQ", 1),
        ("YWJjYW", 4),
        ("YQ=", 3),
        ("YQ=a", 2),
        ("Y===", 1),
        ("=", 0),
        ("YWJj\nYWJ", 5),
    ] {
        let mut object = json!({"data": {"a": text}});
        let error = strict::decode(secret, &mut object).unwrap_err();
        let wanted = format!("illegal base64 data at input byte {place}");
        assert_eq!(error.to_string(), wanted, "{text:?}");
    }
    for text in ["", "YQ=\n=\n", "YWI=", "YW\r\nJj"] {
        let mut object = json!({"data": {"a": text}});
        strict::decode(secret, &mut object).unwrap();
    }
}

#[test]
fn base64_has_no_idle_bits() {
    for (text, wanted) in [
        ("", ""),
        ("aGVs", "aGVs"),
        ("aGk=", "aGk="),
        ("aGl=", "aGk="),
        ("aA==", "aA=="),
        ("aP==", "aA=="),
        ("aG\nl\r=", "aGk="),
    ] {
        let mut secret = json!({"data": {"a": text}});
        strict::check(schema("io.k8s.api.core.v1.Secret"), &mut secret).unwrap();
        assert_eq!(secret["data"]["a"], wanted, "{text:?}");
    }
}

#[test]
fn values_get_the_form_go_would_write() {
    let mut object = json!({
        "metadata": {
            "name": "a", "creationTimestamp": "2024-05-06T09:08:09.25+02:00", "deletionTimestamp": null,
            "labels": {"a": null}, "annotations": {}, "finalizers": [], "ownerReferences": [null]
        },
        "spec": {
            "nodeName": null,
            "containers": [{
                "name": "c", "command": ["a", null], "ports": null,
                "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "ephemeral-storage": "1Gi", "x": null}},
                "livenessProbe": {"httpGet": {"port": 80}}
            }],
            "volumes": [{"name": "v", "emptyDir": {}}]
        },
        "status": null
    });
    let unknown = strict::check(schema("io.k8s.api.core.v1.Pod"), &mut object).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(
        object,
        json!({
            "metadata": {
                "name": "a", "creationTimestamp": "2024-05-06T07:08:09Z", "labels": {"a": ""}, "ownerReferences": [{}]
            },
            "spec": {
                "containers": [{
                    "name": "c", "command": ["a", ""],
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1Gi", "x": "0"}},
                    "livenessProbe": {"httpGet": {"port": 80}}
                }],
                "volumes": [{"name": "v", "emptyDir": {}}]
            }
        })
    );
    let mut secret = json!({"data": {"a": "aGVs\nbG8="}});
    strict::check(schema("io.k8s.api.core.v1.Secret"), &mut secret).unwrap();
    assert_eq!(secret, json!({"data": {"a": "aGVsbG8="}}));
    let mut lease = json!({"spec": {"renewTime": "2024-05-06T09:08:09.500000+02:00", "acquireTime": "2024-05-06T07:08:09.123456Z"}});
    strict::check(schema("io.k8s.api.coordination.v1.Lease"), &mut lease).unwrap();
    assert_eq!(
        lease,
        json!({"spec": {"renewTime": "2024-05-06T07:08:09.500000Z", "acquireTime": "2024-05-06T07:08:09.123456Z"}})
    );
    // Untyped content stays as it is.
    let mut revision = json!({"data": {"spec": {"x": null, "y": {}}}, "revision": 1});
    let before = revision.clone();
    strict::check(
        schema("io.k8s.api.apps.v1.ControllerRevision"),
        &mut revision,
    )
    .unwrap();
    assert_eq!(revision, before);
}
