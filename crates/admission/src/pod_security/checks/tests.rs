use serde_json::{Value, json};

use super::*;

mod profiles;

const LATEST: Version = Version::Latest;

/// What one check says in a version; empty: nothing, or there is no such check.
fn one(id: &str, version: Version, pod: &Value) -> String {
    let check = CHECKS.iter().find(|check| check.id == id).unwrap();
    let judge = check.in_version(version);
    let violation = judge.and_then(|judge| judge(&Pod::new(pod)));
    Violations(violation.into_iter().collect()).detail()
}

/// A table of one check: specs, and what it says of them.
fn table(id: &str, version: Version, rows: &[(Value, &str)]) {
    for (spec, told) in rows {
        let pod = json!({"spec": spec});
        assert_eq!(one(id, version, &pod), *told, "{id} {version}: {spec}");
    }
}

/// Containers named a, b, c and so on with these security contexts.
fn containers(contexts: &[Value]) -> Value {
    let named = ('a'..).zip(contexts);
    let named = named.map(|(name, context)| json!({"name": name, "securityContext": context}));
    json!(named.collect::<Vec<_>>())
}

fn all(level: Level, version: Version, pod: &Value) -> String {
    evaluate(LevelVersion { level, version }, &Pod::new(pod)).detail()
}

fn ids(level: Level, version: Version) -> Vec<&'static str> {
    let rules = rules(LevelVersion { level, version });
    rules.map(|(id, _)| id).collect()
}

#[test]
fn the_table_is_in_the_order_of_messages_and_its_versions_rise() {
    for level in [Level::Baseline, Level::Restricted] {
        let of = CHECKS.iter().filter(|check| check.level == level);
        let ids: Vec<_> = of.map(|check| check.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }
    assert!(CHECKS.is_sorted_by_key(|check| check.level));
    for check in &CHECKS {
        assert!(check.versions.is_sorted_by(|(a, _), (b, _)| a < b));
        if let Some(id) = check.overrides {
            let other = CHECKS.iter().find(|other| other.id == id).unwrap();
            let levels = (check.level, other.level);
            assert_eq!(levels, (Level::Restricted, Level::Baseline), "{id}");
        }
    }
}

#[test]
fn which_checks_count_in_which_version() {
    assert!(ids(Level::Privileged, LATEST).is_empty());
    let baseline = [
        "appArmorProfile",
        "capabilities_baseline",
        "hostNamespaces",
        "hostPathVolumes",
        "hostPorts",
        "hostProbesAndHostLifecycle",
        "privileged",
        "procMount",
        "seLinuxOptions",
        "seccompProfile_baseline",
        "sysctls",
        "windowsHostProcess",
    ];
    assert_eq!(ids(Level::Baseline, LATEST), baseline);
    // Of a release that is yet to come: as now.
    assert_eq!(ids(Level::Baseline, Version::Minor(99)), baseline);
    let without: Vec<_> = baseline
        .into_iter()
        .filter(|id| !id.contains("Probes"))
        .collect();
    assert_eq!(ids(Level::Baseline, Version::Minor(0)), without);
    let restricted = [
        "appArmorProfile",
        "hostNamespaces",
        "hostPorts",
        "hostProbesAndHostLifecycle",
        "privileged",
        "seLinuxOptions",
        "sysctls",
        "windowsHostProcess",
        "allowPrivilegeEscalation",
        "capabilities_restricted",
        "procMount_restricted",
        "restrictedVolumes",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile_restricted",
    ];
    assert_eq!(ids(Level::Restricted, LATEST), restricted);
    let oldest = [
        "appArmorProfile",
        "capabilities_baseline",
        "hostNamespaces",
        "hostPorts",
        "privileged",
        "procMount",
        "seLinuxOptions",
        "seccompProfile_baseline",
        "sysctls",
        "windowsHostProcess",
        "restrictedVolumes",
        "runAsNonRoot",
    ];
    assert_eq!(ids(Level::Restricted, Version::Minor(0)), oldest);
}

#[test]
fn a_plain_pod_at_each_level() {
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    assert_eq!(all(Level::Baseline, LATEST, &pod), "");
    assert_eq!(
        all(Level::Restricted, LATEST, &pod),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let good = json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": containers(&[json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        })]),
    }});
    for minor in 0..40 {
        let version = Version::Minor(minor);
        assert_eq!(all(Level::Restricted, version, &good), "", "{version}");
    }
    assert_eq!(all(Level::Restricted, LATEST, &good), "");
}

#[test]
fn fields_of_containers() {
    let (yes, no) = (json!({"privileged": true}), json!({"privileged": false}));
    table(
        "privileged",
        LATEST,
        &[
            (
                json!({"containers": containers(&[Value::Null, json!({}), no.clone()])}),
                "",
            ),
            (
                json!({"containers": containers(&[no, yes.clone(), yes.clone()])}),
                "privileged (containers \"b\", \"c\" must not set securityContext.privileged=true)",
            ),
            (
                json!({"ephemeralContainers": [{"name": "e", "securityContext": yes}]}),
                "privileged (container \"e\" must not set securityContext.privileged=true)",
            ),
        ],
    );
    let escalation = "allowPrivilegeEscalation";
    let contexts = [
        Value::Null,
        json!({}),
        json!({escalation: true}),
        json!({escalation: false}),
    ];
    table(
        escalation,
        LATEST,
        &[(
            json!({"containers": containers(&contexts)}),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\", \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        )],
    );
    let contexts = ["Default", "Unmasked", "other"].map(|mount| json!({"procMount": mount}));
    let told = "procMount (containers \"b\", \"c\" must not set securityContext.procMount to \"Unmasked\", \"other\")";
    let on_host = json!({"containers": containers(&contexts)});
    let own = json!({"hostUsers": false, "containers": containers(&contexts)});
    table(
        "procMount",
        LATEST,
        &[(on_host.clone(), told), (own.clone(), "")],
    );
    table("procMount", Version::Minor(34), &[(own.clone(), told)]);
    table(
        "procMount_restricted",
        LATEST,
        &[(on_host, told), (own.clone(), told)],
    );
    table("procMount_restricted", Version::Minor(34), &[(own, "")]);
}

#[test]
fn capabilities() {
    let contexts = [
        json!({"capabilities": {"add": ["FOO", "BAR"]}}),
        json!({"capabilities": {"add": ["BAR", "BAZ"], "drop": ["NET_RAW"]}}),
        json!({"capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN"], "drop": ["ALL"]}}),
    ];
    let spec = json!({"containers": containers(&contexts)});
    table(
        "capabilities_baseline",
        LATEST,
        &[(
            spec.clone(),
            "non-default capabilities (containers \"a\", \"b\" must not include \"BAR\", \"BAZ\", \"FOO\" in securityContext.capabilities.add)",
        )],
    );
    table(
        "capabilities_restricted",
        LATEST,
        &[(
            spec,
            "unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; \
         containers \"a\", \"b\", \"c\" must not include \"BAR\", \"BAZ\", \"CHOWN\", \"FOO\" in securityContext.capabilities.add)",
        )],
    );
}

#[test]
fn what_is_shared_with_the_node() {
    table(
        "hostNamespaces",
        LATEST,
        &[
            (json!({"hostNetwork": false}), ""),
            (json!({"hostPID": true}), "host namespaces (hostPID=true)"),
            (
                json!({"hostNetwork": true, "hostPID": true, "hostIPC": true}),
                "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
            ),
        ],
    );
    let port = |ports: &[i64]| {
        let ports: Vec<_> = ports.iter().map(|port| json!({"hostPort": port})).collect();
        json!(ports)
    };
    table(
        "hostPorts",
        LATEST,
        &[
            (
                json!({"containers": [{"name": "a", "ports": port(&[0])}, {"name": "b", "ports": port(&[0, 20])}]}),
                "hostPort (container \"b\" uses hostPort 20)",
            ),
            (
                json!({"containers": [{"name": "b", "ports": port(&[8080, 443])}, {"name": "c", "ports": port(&[443])}]}),
                "hostPort (containers \"b\", \"c\" use hostPorts 443, 8080)",
            ),
        ],
    );
    let on_host = json!({"windowsOptions": {"hostProcess": true}});
    table(
        "windowsHostProcess",
        LATEST,
        &[
            (
                json!({"containers": containers(&[json!({"windowsOptions": {}})])}),
                "",
            ),
            (
                json!({"securityContext": on_host, "containers": containers(&[on_host.clone(), on_host.clone()])}),
                "hostProcess (pod and containers \"a\", \"b\" must not set securityContext.windowsOptions.hostProcess=true)",
            ),
        ],
    );
}

#[test]
fn hosts_of_probes_and_handlers() {
    let id = "hostProbesAndHostLifecycle";
    let get = |host: &str| json!({"httpGet": {"host": host}});
    let connect = |host: &str| json!({"tcpSocket": {"host": host}});
    let rows = [
        (
            json!({"containers": [{"name": "a", "livenessProbe": get("")}]}),
            "",
        ),
        (
            json!({"initContainers": [{"name": "init", "startupProbe": connect("8.8.8.8")}]}),
            "probe or lifecycle host (container \"init\" uses probe or lifecycle host \"8.8.8.8\")",
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": get("127.0.0.1"), "readinessProbe": get("localhost"),
                "lifecycle": {"postStart": connect("::1")}}]}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"127.0.0.1\", \"::1\", \"localhost\")",
        ),
        (
            json!({"containers": [
                {"name": "two", "lifecycle": {"preStop": get("b.com")}}, {"name": "one", "readinessProbe": get("a.com")},
            ]}),
            "probe or lifecycle host (containers \"one\", \"two\" use probe or lifecycle hosts \"a.com\", \"b.com\")",
        ),
    ];
    table(id, Version::Minor(34), &rows);
    table(id, Version::Minor(33), &rows.map(|(spec, _)| (spec, "")));
}

#[test]
fn volumes() {
    let spec = json!({"volumes": [
        {"name": "a", "hostPath": {"path": "/"}},
        {"name": "b", "nfs": {}},
        {"name": "c", "emptyDir": {}},
        {"name": "d", "image": {}},
        {"name": "e"},
    ]});
    table(
        "hostPathVolumes",
        LATEST,
        &[(spec.clone(), "hostPath volumes (volume \"a\")")],
    );
    table(
        "restrictedVolumes",
        LATEST,
        &[
            (
                spec,
                "restricted volume types (volumes \"a\", \"b\", \"e\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")",
            ),
            (
                json!({"volumes": [{"name": "a", "gitRepo": {}}]}),
                "restricted volume types (volume \"a\" uses restricted volume type \"gitRepo\")",
            ),
        ],
    );
}

#[test]
fn users() {
    let non_root = |value: bool| json!({"runAsNonRoot": value});
    table(
        "runAsNonRoot",
        LATEST,
        &[
            (
                json!({"containers": containers(&[Value::Null, json!({})])}),
                "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true)",
            ),
            (
                json!({"securityContext": non_root(false), "containers": containers(&[non_root(true)])}),
                "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
            ),
            (
                json!({"securityContext": non_root(true), "containers": containers(&[Value::Null, non_root(false), non_root(false)])}),
                "runAsNonRoot != true (containers \"b\", \"c\" must not set securityContext.runAsNonRoot=false)",
            ),
            (json!({"containers": containers(&[non_root(true)])}), ""),
            (
                json!({"hostUsers": false, "containers": containers(&[Value::Null])}),
                "",
            ),
        ],
    );
    table(
        "runAsNonRoot",
        Version::Minor(34),
        &[(
            json!({"hostUsers": false, "containers": containers(&[Value::Null])}),
            "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)",
        )],
    );
    let user = |id: i64| json!({"runAsUser": id});
    let root = json!({"securityContext": user(0), "containers": containers(&[user(0), user(1)])});
    let told = "runAsUser=0 (pod and container \"a\" must not set runAsUser=0)";
    table(
        "runAsUser",
        LATEST,
        &[
            (root.clone(), told),
            (json!({"containers": containers(&[user(1)])}), ""),
        ],
    );
    table("runAsUser", Version::Minor(22), &[(root.clone(), "")]);
    let mut own = root;
    own["hostUsers"] = json!(false);
    table("runAsUser", Version::Minor(34), &[(own.clone(), told)]);
    table("runAsUser", LATEST, &[(own, "")]);
}

#[test]
fn pods_for_windows_cannot_set_what_linux_needs() {
    let pod = json!({"spec": {
        "os": {"name": "windows"},
        "securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "a"}],
    }});
    assert_eq!(all(Level::Restricted, Version::Minor(25), &pod), "");
    let reasons = |minor| {
        let (level, version) = (Level::Restricted, Version::Minor(minor));
        evaluate(LevelVersion { level, version }, &Pod::new(&pod)).reason()
    };
    assert_eq!(
        reasons(24),
        "allowPrivilegeEscalation != false, unrestricted capabilities, seccompProfile"
    );
    assert_eq!(reasons(7), "");
}
