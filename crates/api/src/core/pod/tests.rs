use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{KIND, qos_class};
use crate::{
    kind::{Deletion, Part},
    testing::{create_errors, created, pretty, row, update_errors},
};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec})
}

fn one(container: Value) -> Value {
    let mut base = json!({"name": "c", "image": "i:1"});
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), container) {
        base.extend(more);
    }
    pod(json!({"containers": [base]}))
}

fn check_create(object: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&KIND, object));
}

#[test]
fn defaults() {
    let object = created(
        &KIND,
        pod(json!({
            "containers": [{
                "name": "c", "image": "registry:5000/app",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "0.1"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
            "volumes": [
                {"name": "a"},
                {"name": "b", "configMap": {"name": "x"}},
                {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"name": "d", "hostPath": {"path": "/x"}},
            ],
            "serviceAccountName": "sa",
            "hostNetwork": true,
        })),
    );
    expect![[r#"
        {
          "containers": [
            {
              "env": [
                {
                  "name": "A",
                  "valueFrom": {
                    "fieldRef": {
                      "apiVersion": "v1",
                      "fieldPath": "metadata.name"
                    }
                  }
                }
              ],
              "image": "registry:5000/app",
              "imagePullPolicy": "Always",
              "livenessProbe": {
                "failureThreshold": 3,
                "httpGet": {
                  "path": "/",
                  "port": 80,
                  "scheme": "HTTP"
                },
                "periodSeconds": 10,
                "successThreshold": 1,
                "timeoutSeconds": 1
              },
              "name": "c",
              "ports": [
                {
                  "containerPort": 80,
                  "hostPort": 80,
                  "protocol": "TCP"
                }
              ],
              "resources": {
                "limits": {
                  "cpu": "1",
                  "memory": "1Gi"
                },
                "requests": {
                  "cpu": "100m",
                  "memory": "1Gi"
                }
              },
              "terminationMessagePath": "/dev/termination-log",
              "terminationMessagePolicy": "File"
            }
          ],
          "dnsPolicy": "ClusterFirst",
          "enableServiceLinks": true,
          "hostNetwork": true,
          "restartPolicy": "Always",
          "schedulerName": "default-scheduler",
          "securityContext": {},
          "serviceAccount": "sa",
          "serviceAccountName": "sa",
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "emptyDir": {},
              "name": "a"
            },
            {
              "configMap": {
                "defaultMode": 420,
                "name": "x"
              },
              "name": "b"
            },
            {
              "name": "c",
              "projected": {
                "defaultMode": 420,
                "sources": [
                  {
                    "serviceAccountToken": {
                      "expirationSeconds": 3600,
                      "path": "t"
                    }
                  }
                ]
              }
            },
            {
              "hostPath": {
                "path": "/x",
                "type": ""
              },
              "name": "d"
            }
          ]
        }"#]]
    .assert_eq(&pretty(&object["spec"]));
    expect![[r#"{"phase":"Pending","qosClass":"Burstable"}"#]]
        .assert_eq(&object["status"].to_string());
}

#[test]
fn image_tags_choose_the_pull_policy() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("r:5000/a", "Always"),
        ("r:5000/a:1", "IfNotPresent"),
        (&*format!("a@{digest}"), "IfNotPresent"),
        (&*format!("a:latest@{digest}"), "Always"),
        (
            &*format!("R.example.com:5000/a/b-c__d:latest@{digest}"),
            "Always",
        ),
        ("[::1]:5000/a", "Always"),
        // These are none.
        ("a:latest@sha256:0", "IfNotPresent"),
        ("A", "IfNotPresent"),
        ("a b", "IfNotPresent"),
        ("-a", "IfNotPresent"),
        ("a//b", "IfNotPresent"),
        ("a___b", "IfNotPresent"),
        ("::ffff:10.0.0.1", "IfNotPresent"),
        ("r:x/a", "IfNotPresent"),
        (&*"a".repeat(64), "IfNotPresent"),
        (&*"z".repeat(300), "IfNotPresent"),
    ] {
        let object = created(&KIND, one(json!({"image": image})));
        let got = &object["spec"]["containers"][0]["imagePullPolicy"];
        assert_eq!(got, policy, "{image}");
    }
}

#[test]
fn quality_of_service() {
    let class = |resources: Value| qos_class(&created(&KIND, one(json!({"resources": resources}))));
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
        "Guaranteed"
    );
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
        "Burstable"
    );
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(
        class(json!({"limits": {"ephemeral-storage": "1"}})),
        "BestEffort"
    );
}

#[test]
fn refused_containers() {
    check_create(pod(json!({})), expect!["spec.containers: Required value"]);
    check_create(
        pod(json!({"containers": [{}, {"name": "A", "image": " x"}, {"name": "A", "image": "x"}]})),
        expect![[r#"
            spec.containers[0].name: Required value
            spec.containers[0].image: Required value
            spec.containers[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[2].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[2].name: Duplicate value: "A"
            spec.containers[1].image: Invalid value: " x": must not have leading or trailing whitespace"#]],
    );
    check_create(
        one(json!({
            "ports": [
                {"name": "a", "containerPort": 0}, {"name": "a", "containerPort": 70000, "protocol": "tcp"},
                {"name": "Bad_Name", "containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5},
            ],
            "imagePullPolicy": "Sometimes",
            "terminationMessagePolicy": "Tail",
            "restartPolicy": "Sometimes",
            "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
                {"action": "RestartAllContainers", "exitCodes": {"operator": "Exists"}}, {"action": "RestartPod"}, {},
            ],
        })),
        expect![[r#"
            spec.containers[0].terminationMessagePolicy: Unsupported value: "Tail": supported values: "File", "FallbackToLogsOnError"
            spec.containers[0].ports[0].containerPort: Required value
            spec.containers[0].ports[1].name: Duplicate value: "a"
            spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
            spec.containers[0].ports[2].name: Invalid value: "Bad_Name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"
            spec.containers[0].restartPolicyRules[1].exitCodes.operator: Unsupported value: "Exists": supported values: "In", "NotIn"
            spec.containers[0].restartPolicyRules[2].action: Unsupported value: "RestartPod": supported values: "Restart", "RestartAllContainers"
            spec.containers[0].restartPolicyRules[2].exitCodes: Required value: must be specified
            spec.containers[0].restartPolicyRules[3].action: Unsupported value: "": supported values: "Restart", "RestartAllContainers"
            spec.containers[0].restartPolicyRules[3].exitCodes: Required value: must be specified
            spec.containers[0].ports[3].hostPort: Duplicate value: "TCP//5""#]],
    );
    check_create(
        one(json!({
            "env": [
                {"name": ""}, {"name": "a=b"},
                {"name": "A", "valueFrom": {}},
                {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}},
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}},
                {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}},
                {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}},
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "", "key": "a/b"}}},
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v9"}}},
            ],
            "envFrom": [{}, {"configMapRef": {"name": "A"}}],
        })),
        expect![[r#"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
            spec.containers[0].env[3].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nope": error converting fieldPath: field label not supported: spec.nope
            spec.containers[0].env[5].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[6].valueFrom.fieldRef: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.containers[0].env[7].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"
            spec.containers[0].env[8].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource
            spec.containers[0].env[9].valueFrom.configMapKeyRef.name: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].env[9].valueFrom.configMapKeyRef.key: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            spec.containers[0].env[10].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v9
            spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].envFrom[1].configMapRef.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
    );
}

/// A pod that waits for leave to be scheduled does so from now on.
#[test]
fn gates_are_told_with_their_time() {
    let pod = created(&KIND, json!({"spec": {"schedulingGates": [{"name": "g"}]}}));
    let condition = &pod["status"]["conditions"][0];
    assert_eq!(condition["reason"], "SchedulingGated");
    assert!(condition["lastTransitionTime"].is_string(), "{condition}");
}

#[test]
fn refused_probes_and_resources() {
    check_create(
        one(json!({
            "livenessProbe": {"successThreshold": 2, "exec": {"command": []}},
            "readinessProbe": {"httpGet": {"port": "no such port name", "scheme": "ftp"}, "tcpSocket": {"port": 0}, "terminationGracePeriodSeconds": 5},
            "startupProbe": {"periodSeconds": -1},
            "lifecycle": {"preStop": {}, "postStart": {"sleep": {"seconds": 1}}},
            "resources": {
                "limits": {"cpu": "1", "memory": "-1", "gpu": "1", "example.com/gpu": "500m"},
                "requests": {"cpu": "2", "hugepages-2Mi": "2Mi", "memory": "lots"},
            },
        })),
        expect![[r#"
            spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer
            spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified
            spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.requests[memory]: Invalid value: "lots": must be a valid resource quantity
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
            spec.containers[0].lifecycle.preStop: Required value: must specify a handler type
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe.httpGet.port: Invalid value: "no such port name": must be no more than 15 characters
            spec.containers[0].readinessProbe.httpGet.port: Invalid value: "no such port name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "ftp": supported values: "HTTP", "HTTPS"
            spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes
            spec.containers[0].startupProbe: Required value: must specify a handler type
            spec.containers[0].startupProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"#]],
    );
}

#[test]
fn tokens_stay_in_their_volume() {
    let mut object = one(json!({}));
    object["spec"]["serviceAccountName"] = "bot".into();
    object["spec"]["volumes"] = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "../up", "expirationSeconds": 600}},
        {"serviceAccountToken": {"path": "/abs", "expirationSeconds": 600}},
        {"serviceAccountToken": {"path": "a/../b", "expirationSeconds": 600}},
        {"serviceAccountToken": {"path": "..x", "expirationSeconds": 600}},
        {"serviceAccountToken": {"path": "a/..x", "expirationSeconds": 600}},
    ]}}]);
    check_create(
        object,
        expect![[r#"
        spec.volumes[0].projected.path: Invalid value: "../up": must not contain '..'
        spec.volumes[0].projected.path: Invalid value: "/abs": must be a relative path
        spec.volumes[0].projected.path: Invalid value: "a/../b": must not contain '..'
        spec.volumes[0].projected.path: Invalid value: "..x": must not start with '..'"#]],
    );
}

#[test]
fn refused_volumes() {
    let mut object = one(json!({
        "volumeMounts": [
            {"name": "a", "mountPath": "/x"},
            {"name": "nope", "mountPath": "/x", "subPath": "../up"},
            {"name": "a", "mountPath": "", "subPath": "/abs", "subPathExpr": "y", "mountPropagation": "Bidirectional"},
        ],
    }));
    object["spec"]["volumes"] = json!([
        {"name": "a"},
        {"name": "a"},
        {"name": "B", "emptyDir": {"sizeLimit": "-1"}, "secret": {"secretName": "s"}},
        {"name": "c", "configMap": {"defaultMode": 512, "items": [{"key": "", "path": "../x"}, {"key": "k", "path": "..x"}]}},
        {"name": "d", "hostPath": {"path": "/a/../b", "type": "Dir"}},
        {"name": "e", "projected": {"sources": [{"serviceAccountToken": {"path": "", "expirationSeconds": 5}}, {"secret": {"name": ""}, "configMap": {"name": "c"}}]}},
        {"name": "f", "downwardAPI": {"items": [{"path": "x"}, {"path": "y", "fieldRef": {"fieldPath": "spec.nodeName"}}, {"path": "z", "resourceFieldRef": {"resource": "limits.cpu"}}]}},
    ]);
    check_create(
        object,
        expect![[r#"
        spec.volumes[1].name: Duplicate value: "a"
        spec.volumes[2].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity
        spec.volumes[2].secret: Forbidden: may not specify more than 1 volume type
        spec.volumes[2].name: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.volumes[3].configMap.name: Required value
        spec.volumes[3].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive
        spec.volumes[3].configMap.items[0].key: Required value
        spec.volumes[3].configMap.items[0].path: Invalid value: "../x": must not contain '..'
        spec.volumes[3].configMap.items[1].path: Invalid value: "..x": must not start with '..'
        spec.volumes[4].hostPath.path: Invalid value: "/a/../b": must not contain '..'
        spec.volumes[4].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
        spec.volumes[5].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
        spec.volumes[5].projected.path: Required value
        spec.volumes[5].projected.sources[1].secret.name: Required value
        spec.volumes[5].projected.sources[1]: Forbidden: may not specify more than 1 volume type per source
        spec.volumes[6].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required
        spec.volumes[6].downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"
        spec.volumes[6].downwardAPI.resourceFieldRef.containerName: Required value
        spec.containers[0].volumeMounts[1].name: Not found: "nope"
        spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique
        spec.containers[0].volumeMounts.subPath: Invalid value: "../up": must not contain '..'
        spec.containers[0].volumeMounts[2].mountPath: Required value
        spec.containers[0].volumeMounts.subPath: Invalid value: "/abs": must be a relative path
        spec.containers[0].volumeMounts[2].subPathExpr: Invalid value: "y": subPathExpr and subPath are mutually exclusive
        spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers
        spec.volumes[5].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"#]],
    );
}

#[test]
fn refused_spec_fields() {
    let mut object = one(
        json!({"securityContext": {"allowPrivilegeEscalation": false, "privileged": true, "runAsUser": -1}}),
    );
    for (field, value) in [
        ("restartPolicy", json!("Maybe")),
        ("dnsPolicy", json!("None")),
        ("nodeSelector", json!({"a": "b c"})),
        ("serviceAccountName", json!("A")),
        ("hostname", json!("a.b")),
        ("activeDeadlineSeconds", json!(0)),
        ("terminationGracePeriodSeconds", json!(-1)),
        (
            "tolerations",
            json!([
                {"operator": "Equal"},
                {"key": "a", "operator": "Exists", "value": "x"},
                {"key": "a", "operator": "Near", "effect": "Explode", "tolerationSeconds": 1},
            ]),
        ),
        (
            "affinity",
            json!({
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {"topologyKey": ""}}]},
            }),
        ),
        (
            "topologySpreadConstraints",
            json!([{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Cry"}]),
        ),
        (
            "securityContext",
            json!({"sysctls": [{"name": "Bad"}], "seccompProfile": {"type": "Localhost"}, "supplementalGroups": [-5]}),
        ),
        ("shareProcessNamespace", json!(true)),
        ("hostPID", json!(true)),
        ("hostAliases", json!([{"ip": "x", "hostnames": ["A"]}])),
        (
            "ephemeralContainers",
            json!([{"name": "e", "image": "i:1", "ports": [], "targetContainerName": "nope"}]),
        ),
        (
            "initContainers",
            json!([{"name": "c", "image": "i:1", "livenessProbe": {"exec": {"command": ["a"]}}}, {"name": "s", "image": "i:1", "restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["a"]}}}]),
        ),
    ] {
        object["spec"][field] = value;
    }
    check_create(
        object,
        expect![[r#"
            spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true,"runAsUser":-1}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true
            spec.initContainers[0].name: Duplicate value: "c"
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.ephemeralContainers[0].targetContainerName: Not found: "nope"
            spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container
            spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"
            spec.nodeSelector: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.securityContext.supplementalGroups[0]: Invalid value: -5: must be between 0 and 2147483647, inclusive
            spec.securityContext.sysctls[0].name: Invalid value: "Bad": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must be non-empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Cry": supported values: "DoNotSchedule", "ScheduleAnyway"
            spec.serviceAccountName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.hostname: Invalid value: "a.b": must not contain dots
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'
            spec.tolerations[2].effect: Invalid value: "Explode": effect must be 'NoExecute' when `tolerationSeconds` is set
            spec.tolerations[2].operator: Unsupported value: "Near": supported values: "Equal", "Exists"
            spec.tolerations[2].effect: Unsupported value: "Explode": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.ephemeralContainers: Forbidden: cannot be set on create"#]],
    );
}

#[test]
fn updates() {
    let old = created(&KIND, one(json!({"ports": [{"containerPort": 80}]})));
    let check = |change: &dyn Fn(&mut Value), expected: Expect| {
        let mut new = old.clone();
        change(&mut new);
        expected.assert_eq(&update_errors(&KIND, new, &old, Part::Main));
    };
    check(&|_| {}, expect![[r#""#]]);
    check(
        &|pod| {
            pod["metadata"]["labels"] = json!({"a": "b"});
            pod["spec"]["containers"][0]["image"] = json!("i:2");
            pod["spec"]["activeDeadlineSeconds"] = json!(5);
            pod["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
            pod["status"] = json!({"phase": "Failed"});
        },
        expect![[r#""#]],
    );
    check(
        &|pod| {
            pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(81);
            pod["spec"]["nodeName"] = json!("n");
        },
        expect![[r#"
            spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
              containers[0].ports: - [{"containerPort":80,"protocol":"TCP"}] + [{"containerPort":81,"protocol":"TCP"}]
              nodeName: - null + "n""#]],
    );
    check(
        &|pod| pod["spec"]["containers"] = json!([]),
        expect![[r#"
            spec.containers: Required value
            spec.containers: Forbidden: pod updates may not add or remove containers"#]],
    );
    check(
        &|pod| pod["spec"]["schedulingGates"] = json!([{"name": "g"}]),
        expect![
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"
        ],
    );
}

#[test]
fn status_updates() {
    let mut old = created(&KIND, one(json!({})));
    old["spec"]["restartPolicy"] = json!("Never");
    old["status"]["containerStatuses"] =
        json!([{"name": "c", "state": {"terminated": {"exitCode": 0}}}]);
    let mut new = old.clone();
    new["spec"]["nodeName"] = json!("elsewhere");
    new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
    new["status"]["podIPs"] = json!([{"ip": "x"}]);
    expect![[r#"
        status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state
        status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]].assert_eq(&update_errors(&KIND, new.clone(), &old, Part::Status));
    KIND.strategy.prepare_update(&mut new, &old, Part::Status);
    assert_eq!(new["spec"], old["spec"]);
    let one = json!([{"ip": "10.0.0.1"}]);
    for (given, wanted) in [
        (
            json!({"podIP": "10.0.0.1"}),
            json!({"podIP": "10.0.0.1", "podIPs": one}),
        ),
        (
            json!({"podIPs": one}),
            json!({"podIP": "10.0.0.1", "podIPs": one}),
        ),
        (
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "::1"}]}),
            json!({"podIP": "10.0.0.1", "podIPs": one}),
        ),
        (json!({"hostIP": "10.0.0.1"}), json!({"hostIP": "10.0.0.1"})),
        (json!({"hostIPs": one}), json!({"hostIPs": one})),
    ] {
        let mut ips = json!({"spec": {}, "status": given});
        KIND.strategy.default(&mut ips);
        assert_eq!(ips["status"], wanted);
    }
}

#[test]
fn what_a_status_leaves_out_is_kept() {
    let mut old = created(&KIND, one(json!({})));
    let condition = |kind: &str, generation: Option<i64>| match generation {
        Some(generation) => json!({"type": kind, "observedGeneration": generation}),
        None => json!({"type": kind}),
    };
    old["status"] = json!({
        "qosClass": "BestEffort", "observedGeneration": 3,
        "conditions": [condition("A", Some(1)), condition("B", None), condition("A", Some(2))],
        "resourceClaimStatuses": [{"name": "r"}],
    });
    let mut new = old.clone();
    new["status"] = json!({"phase": "Running", "conditions": [
        condition("B", None), condition("A", None), condition("A", Some(5)), condition("C", None),
    ]});
    KIND.strategy.prepare_update(&mut new, &old, Part::Status);
    let wanted = json!({
        "phase": "Running", "qosClass": "BestEffort", "observedGeneration": 3,
        "conditions": [condition("B", None), condition("A", Some(1)), condition("A", Some(5)), condition("C", None)],
        "resourceClaimStatuses": [{"name": "r"}],
    });
    assert_eq!(new["status"], wanted);
}

#[test]
fn containers_that_start_again_leave_their_end() {
    let check = |container: Value, code: i64, allowed: bool| {
        let mut old = created(&KIND, one(container.clone()));
        old["spec"]["restartPolicy"] = json!("Never");
        old["status"]["containerStatuses"] =
            json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
        let mut new = old.clone();
        new["status"]["containerStatuses"][0]["state"] = json!({"waiting": {}});
        let errors = update_errors(&KIND, new, &old, Part::Status);
        assert_eq!(errors.is_empty(), allowed, "{container} {code}: {errors}");
    };
    let rules =
        |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
    check(json!({}), 1, false);
    check(json!({"restartPolicy": "Always"}), 0, true);
    check(json!({"restartPolicy": "OnFailure"}), 0, false);
    check(json!({"restartPolicy": "OnFailure"}), 1, true);
    let never =
        |action: &str| json!({"restartPolicy": "Never", "restartPolicyRules": rules(action)});
    check(never("Restart"), 42, true);
    check(never("Restart"), 1, false);
    // With this action all may, however they ended.
    check(never("RestartAllContainers"), 0, true);
}

#[test]
fn deletion() {
    let period = |node: &str, phase: &str, grace: Option<i64>| {
        let pod = json!({
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase},
        });
        match KIND.strategy.deletion(&pod, grace) {
            Deletion::Graceful { seconds } => seconds,
            Deletion::Immediate => panic!("pods are deleted gracefully"),
        }
    };
    assert_eq!(period("n", "Running", None), 30);
    assert_eq!(period("n", "Running", Some(5)), 5);
    assert_eq!(period("n", "Running", Some(0)), 0);
    assert_eq!(period("n", "Running", Some(-1)), 1);
    assert_eq!(period("", "Pending", Some(5)), 0);
    assert_eq!(period("n", "Succeeded", None), 0);
}

/// Name, containers, init containers, status: as `kubectl get pods` prints them.
#[test]
fn rows() {
    let terminated =
        |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let running = json!({"running": {"startedAt": "2025-12-31T23:00:00Z"}});
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let cases = [
        ("pending", 1, 0, json!({"phase": "Pending"})),
        (
            "creating",
            1,
            0,
            json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": waiting("ContainerCreating")}]}),
        ),
        (
            "running",
            1,
            0,
            json!({"phase": "Running", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}], "conditions": ready,
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "state": running}]}),
        ),
        (
            "crashing",
            1,
            0,
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 3, "state": waiting("CrashLoopBackOff"),
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2025-12-31T23:55:00Z"}}}]}),
        ),
        (
            "completed",
            1,
            0,
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "c", "state": terminated(0, "Completed")}]}),
        ),
        (
            "half-done",
            2,
            0,
            json!({"phase": "Running", "containerStatuses": [
                {"name": "c", "state": terminated(0, "Completed")}, {"name": "d", "ready": true, "state": running}]}),
        ),
        (
            "half-done-ready",
            2,
            0,
            json!({"phase": "Running", "conditions": ready, "containerStatuses": [
                {"name": "c", "state": terminated(0, "Completed")}, {"name": "d", "ready": true, "state": running}]}),
        ),
        (
            "half-failed",
            2,
            0,
            json!({"phase": "Failed", "containerStatuses": [
                {"name": "c", "state": terminated(0, "Completed")}, {"name": "d", "state": terminated(1, "Error")}]}),
        ),
        (
            "never-restarted",
            1,
            0,
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 0, "state": waiting("RunContainerError"),
                "lastState": {"terminated": {"finishedAt": "2025-12-31T23:59:50Z"}}}]}),
        ),
        (
            "exit-code",
            1,
            0,
            json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": terminated(3, "")}]}),
        ),
        (
            "init-running",
            1,
            2,
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i0", "state": terminated(0, "Completed")}, {"name": "i1", "state": running}]}),
        ),
        (
            "init-failed",
            1,
            1,
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i0", "restartCount": 2, "state": terminated(1, "Error"), "lastState": {"terminated": {"finishedAt": "2025-12-31T23:59:50Z"}}}]}),
        ),
        (
            "init-backoff",
            1,
            1,
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i0", "state": waiting("CrashLoopBackOff")}]}),
        ),
        (
            "init-signal",
            1,
            1,
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i0", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
        ),
        (
            "evicted",
            1,
            0,
            json!({"phase": "Failed", "reason": "Evicted"}),
        ),
        (
            "gated",
            1,
            0,
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ),
    ];
    let mut lines: Vec<String> = cases
        .into_iter()
        .map(|(name, containers, inits, status)| {
            let list = |prefix: &str, count: i32| -> Vec<Value> {
                (0..count).map(|i| json!({"name": format!("{prefix}{i}")})).collect()
            };
            let pod = json!({
                "metadata": {"name": name, "creationTimestamp": "2025-12-31T22:00:00Z"},
                "spec": {"nodeName": "n1", "containers": list("c", containers), "initContainers": list("i", inits)},
                "status": status,
            });
            row(&KIND, &pod, NOW)
        })
        .collect();
    let deleting = json!({
        "metadata": {"name": "deleting", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c"}], "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        "status": {"phase": "Running", "nominatedNodeName": "n2", "conditions": [{"type": "a", "status": "True"}]},
    });
    lines.push(row(&KIND, &deleting, NOW));
    let sidecar = json!({
        "metadata": {"name": "sidecar"},
        "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
        "status": {"phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": running}],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1, "state": running}]},
    });
    lines.push(row(&KIND, &sidecar, NOW));
    expect![[r#"
        pending | 0/1 | Pending | 0 | 120m | <none> | n1 | <none> | <none>
        creating | 0/1 | ContainerCreating | 0 | 120m | <none> | n1 | <none> | <none>
        running | 1/1 | Running | 0 | 120m | 10.42.0.5 | n1 | <none> | <none>
        crashing | 0/1 | CrashLoopBackOff | 3 (5m ago) | 120m | <none> | n1 | <none> | <none>
        completed | 0/1 | Completed | 0 | 120m | <none> | n1 | <none> | <none>
        half-done | 1/2 | NotReady | 0 | 120m | <none> | n1 | <none> | <none>
        half-done-ready | 1/2 | Running | 0 | 120m | <none> | n1 | <none> | <none>
        half-failed | 0/2 | Error | 0 | 120m | <none> | n1 | <none> | <none>
        never-restarted | 0/1 | RunContainerError | 0 | 120m | <none> | n1 | <none> | <none>
        exit-code | 0/1 | ExitCode:3 | 0 | 120m | <none> | n1 | <none> | <none>
        init-running | 0/1 | Init:1/2 | 0 | 120m | <none> | n1 | <none> | <none>
        init-failed | 0/1 | Init:Error | 2 (10s ago) | 120m | <none> | n1 | <none> | <none>
        init-backoff | 0/1 | Init:CrashLoopBackOff | 0 | 120m | <none> | n1 | <none> | <none>
        init-signal | 0/1 | Init:Signal:9 | 0 | 120m | <none> | n1 | <none> | <none>
        evicted | 0/1 | Evicted | 0 | 120m | <none> | n1 | <none> | <none>
        gated | 0/1 | SchedulingGated | 0 | 120m | <none> | n1 | <none> | <none>
        deleting | 0/1 | Terminating | 0 | <unknown> | <none> | <none> | n2 | 1/2
        sidecar | 2/2 | Running | 2 | <unknown> | <none> | <none> | <none> | <none>"#]]
    .assert_eq(&lines.join("\n"));
}
