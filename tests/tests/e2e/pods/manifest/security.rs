//! Pods with security contexts, names and shared namespaces.

use serde_json::{Value, json};

use super::{IMAGE, pod};

pub fn pods() -> Vec<Value> {
    let none = || json!({});
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let careful = format!(
        "id; touch /x; touch /data/mine; ls -ldn /data /data/mine; {status}; [ -w /proc/sys ] || echo read-only"
    );
    let restricted = json!({
        "securityContext": {
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    let users = json!({
        "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000]},
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    let named = format!(
        "hostname; hostname -f; cat /etc/hosts; {status}; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    );
    let capable =
        json!({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}});
    let names = json!({
        "hostname": "given", "subdomain": "below",
        "hostAliases": [{"ip": "192.0.2.77", "hostnames": ["one", "two"]}],
        "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]},
    });
    let privileged = json!({"securityContext": {"privileged": true}});
    let mount =
        "mount -t tmpfs none /mnt 2>&1 || mount -t tmpfs none /tmp; mount | grep -c 'none on'";
    vec![
        pod(
            "refused-root",
            "true",
            none(),
            json!({"securityContext": {"runAsNonRoot": true}}),
        ),
        pod(
            "refused-user",
            "true",
            json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": true}}),
            none(),
        ),
        pod(
            "careful",
            &format!("{{ {careful}; }} 2>&1"),
            restricted,
            users,
        ),
        pod("named", &named, capable, names),
        pod("privileged", mount, privileged, none()),
        pod(
            "plain",
            &format!("{status}; mount -t tmpfs none /tmp 2>&1; true"),
            none(),
            none(),
        ),
        family(),
    ]
}

/// Two containers that see each other's processes.
fn family() -> Value {
    let other = json!({
        "name": "other", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "7200"],
    });
    let mut made = pod(
        "family",
        "exec sleep 3600",
        json!({}),
        json!({"shareProcessNamespace": true}),
    );
    if let Some(containers) = made["spec"]["containers"].as_array_mut() {
        containers.push(other);
    }
    made
}
