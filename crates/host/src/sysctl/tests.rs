use super::*;

const OWN: Shared = Shared {
    net: false,
    ipc: false,
    uts: false,
    user: true,
};

fn list(patterns: &[&str]) -> Result<Allowlist, String> {
    let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
    Allowlist::new((6, 1), &patterns)
}

#[test]
fn only_what_is_namespaced_stays_within_a_pod() {
    for (name, wanted) in [
        ("net.ipv4.tcp_syncookies", Some(Namespace::Net)),
        ("net/ipv4/conf/eno2.100/rp_filter", Some(Namespace::Net)),
        ("kernel.shmmax", Some(Namespace::Ipc)),
        ("kernel/msgmax", Some(Namespace::Ipc)),
        ("fs.mqueue.msg_max", Some(Namespace::Ipc)),
        ("user.max_pid_namespaces", Some(Namespace::User)),
        ("kernel.domainname", Some(Namespace::Uts)),
        ("kernel.core_pattern", None),
        ("kernel.shmfoo", None),
        ("kernel.hostname", None),
        ("vm.overcommit_memory", None),
        ("network.x", None),
        ("", None),
    ] {
        assert_eq!(namespace(name), wanted, "{name}");
    }
}

#[test]
fn a_name_leads_nowhere_else() {
    let path = |name| file(name).map(|path| path.display().to_string());
    for (name, wanted) in [
        ("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward")),
        (
            "net/ipv4/conf/a.1/rp_filter",
            Some("/proc/sys/net/ipv4/conf/a.1/rp_filter"),
        ),
        ("net.//.kernel.core_pattern", None),
        ("net/../kernel/core_pattern", None),
        ("net...kernel", None),
        ("net.", None),
        ("", None),
    ] {
        assert_eq!(path(name).as_deref(), wanted, "{name}");
    }
}

#[test]
fn pods_set_the_safe_ones_and_what_is_allowed() {
    let allowed = list(&["kernel.msg*", "net.core.somaxconn", "net/ipv6/*"]);
    let allowed = allowed.as_ref().map_err(String::clone);
    let check = |name: &str, shared| match allowed {
        Ok(list) => list.check(name, shared),
        Err(ref error) => Err(error.clone()),
    };
    for name in [
        "net.ipv4.tcp_rmem",
        "net/ipv4/tcp_rmem",
        "kernel.shm_rmid_forced",
        "kernel.msgmax",
        "net.core.somaxconn",
        "net.ipv6.conf.all.disable_ipv6",
    ] {
        assert_eq!(check(name, OWN), Ok(()), "{name}");
    }
    for (name, shared, wanted) in [
        (
            "kernel.core_pattern",
            OWN,
            "\"kernel.core_pattern\" not allowlisted",
        ),
        (
            "net.core.rmem_max",
            OWN,
            "\"net.core.rmem_max\" not allowlisted",
        ),
        (
            "kernel.msgfoo",
            OWN,
            "\"kernel.msgfoo\" is not known to be namespaced",
        ),
        (
            "net.ipv4.tcp_syncookies",
            Shared { net: true, ..OWN },
            "\"net.ipv4.tcp_syncookies\" not allowed with host Net enabled",
        ),
        (
            "kernel.msgmax",
            Shared { ipc: true, ..OWN },
            "\"kernel.msgmax\" not allowed with host IPC enabled",
        ),
    ] {
        assert_eq!(check(name, shared), Err(wanted.to_owned()), "{name}");
    }
}

#[test]
fn old_kernels_have_fewer_safe_ones() {
    let old = Allowlist::new((4, 4), &[]).map(|list| list.check("net.ipv4.tcp_rmem", OWN));
    assert_eq!(
        old,
        Ok(Err("\"net.ipv4.tcp_rmem\" not allowlisted".to_owned()))
    );
    assert_eq!(kernel_version("6.18.44-fc-v857\n"), (6, 18));
    assert_eq!(kernel_version("none"), (0, 0));
}

#[test]
fn what_cannot_be_allowed_is_refused() {
    for pattern in [
        "kernel.core_pattern",
        "vm.*",
        "*",
        "Net.x",
        "net..x",
        "net.*x",
        "",
    ] {
        assert!(list(&[pattern]).is_err(), "{pattern}");
    }
}
