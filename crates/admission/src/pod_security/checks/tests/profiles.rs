//! Profiles, SELinux labels, kernel parameters.

use super::*;

#[test]
fn seccomp_profiles() {
    let profile = |kind: &str| json!({"seccompProfile": {"type": kind}});
    let (off, on) = (profile("Unconfined"), profile("RuntimeDefault"));
    let wrong = json!({"securityContext": off, "containers": containers(&[on.clone(), off.clone(), off.clone()])});
    let told = "seccompProfile (pod and containers \"b\", \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")";
    for id in ["seccompProfile_baseline", "seccompProfile_restricted"] {
        table(
            id,
            LATEST,
            &[
                (wrong.clone(), told),
                (
                    json!({"securityContext": profile("Localhost"), "containers": containers(&[Value::Null])}),
                    "",
                ),
            ],
        );
    }
    let silent = json!({"containers": containers(&[Value::Null, on])});
    table("seccompProfile_baseline", LATEST, &[(silent.clone(), "")]);
    table(
        "seccompProfile_restricted",
        Version::Minor(19),
        &[(
            silent,
            "seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        )],
    );
    // Before they were fields.
    let pod = json!({
        "metadata": {"annotations": {
            "container.seccomp.security.alpha.kubernetes.io/a": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/b": "unknown",
            "container.seccomp.security.alpha.kubernetes.io/c": "localhost/x",
            "container.seccomp.security.alpha.kubernetes.io/gone": "unconfined",
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        }},
        "spec": {"containers": containers(&[Value::Null, Value::Null, off])},
    });
    assert_eq!(
        one("seccompProfile_baseline", Version::Minor(18), &pod),
        "seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/a=\"unconfined\", \
         container.seccomp.security.alpha.kubernetes.io/b=\"unknown\", seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
}

#[test]
fn app_armor_profiles() {
    let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
    table(
        "appArmorProfile",
        LATEST,
        &[
            (
                json!({"securityContext": profile("RuntimeDefault"), "containers": containers(&[profile("Localhost")])}),
                "",
            ),
            (
                json!({"securityContext": profile("Unconfined"), "containers": containers(&[profile("Unconfined")])}),
                "forbidden AppArmor profile (pod and container \"a\" must not set AppArmor profile type to \"Unconfined\")",
            ),
        ],
    );
    let pod = json!({
        "metadata": {"annotations": {
            "container.apparmor.security.beta.kubernetes.io/a": "runtime/default",
            "container.apparmor.security.beta.kubernetes.io/b": "unconfined",
            "container.apparmor.security.beta.kubernetes.io/c": "",
        }},
        "spec": {"securityContext": profile("Unconfined")},
    });
    assert_eq!(
        one("appArmorProfile", LATEST, &pod),
        "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \
         \"container.apparmor.security.beta.kubernetes.io/b=\"unconfined\"\")"
    );
}

#[test]
fn selinux_options() {
    let options = |value: Value| json!({"seLinuxOptions": value});
    let id = "seLinuxOptions";
    table(
        id,
        LATEST,
        &[
            (
                json!({"securityContext": options(json!({"level": "s0", "type": "container_t"}))}),
                "",
            ),
            (
                json!({
                    "securityContext": options(json!({"type": "foo"})),
                    "containers": containers(&[options(json!({"type": "bar"})), options(json!({"user": "u"})), options(json!({"role": "r"}))]),
                }),
                "seLinuxOptions (pod and containers \"a\", \"b\", \"c\" set forbidden securityContext.seLinuxOptions: \
             types \"bar\", \"foo\"; user may not be set; role may not be set)",
            ),
        ],
    );
    let engine = json!({"securityContext": options(json!({"type": "container_engine_t"}))});
    table(id, Version::Minor(31), &[(engine.clone(), "")]);
    table(
        id,
        Version::Minor(30),
        &[(
            engine,
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")",
        )],
    );
}

#[test]
fn sysctls() {
    for (name, since) in [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_wmem", 32),
        ("net.ipv4.tcp_notsent_lowat", 37),
    ] {
        let spec = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        let told = format!("forbidden sysctls ({name})");
        for minor in 0..40 {
            let told = if minor < since { &told } else { "" };
            table("sysctls", Version::Minor(minor), &[(spec.clone(), told)]);
        }
        table("sysctls", LATEST, &[(spec, "")]);
    }
    table(
        "sysctls",
        LATEST,
        &[(
            json!({"securityContext": {"sysctls": [{"name": "a"}, {"name": "kernel.shm_rmid_forced"}, {"name": "b"}]}}),
            "forbidden sysctls (a, b)",
        )],
    );
}
