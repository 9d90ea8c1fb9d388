use serde_json::json;

use super::*;
use crate::testing::pod;

#[test]
fn names_follow_the_spec() {
    let check = |spec, expected: (&str, &str)| {
        let (host, domain) = names(&pod(spec), "cluster.local");
        assert_eq!((host.as_str(), domain.as_str()), expected);
    };
    check(json!({ "containers": [] }), ("web", ""));
    check(json!({ "containers": [], "hostname": "h" }), ("h", ""));
    let both = json!({ "containers": [], "hostname": "h", "subdomain": "s" });
    check(both, ("h", "s.shop.svc.cluster.local"));
    let instead = json!({ "containers": [], "hostname": "h", "subdomain": "s", "hostnameOverride": "o.example" });
    check(instead, ("o.example", ""));
}

#[test]
fn a_pod_has_an_address_of_each_family_the_nodes_primary_one_first() {
    let texts = |ips: &[&str]| -> Vec<String> { ips.iter().map(ToString::to_string).collect() };
    for (told, node, expected) in [
        (
            &["10.42.0.7", "fd42::7"][..],
            "192.0.2.1",
            &["10.42.0.7", "fd42::7"][..],
        ),
        (
            &["10.42.0.7", "fd42::7"],
            "fd01::1",
            &["fd42::7", "10.42.0.7"],
        ),
        (
            &["fd42::7", "10.42.0.7", "10.42.0.8"],
            "192.0.2.1",
            &["10.42.0.7", "fd42::7"],
        ),
        (&["fd42::7"], "192.0.2.1", &["fd42::7"]),
        (&[], "192.0.2.1", &[]),
    ] {
        assert_eq!(
            pod_ips(&texts(told), &texts(&[node])),
            texts(expected),
            "{told:?}"
        );
    }
}

#[test]
fn long_names_are_cut_to_a_valid_hostname() {
    let mut pod = pod(json!({ "containers": [] }));
    pod.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(20)));
    assert_eq!(names(&pod, "cluster.local").0, "a".repeat(62));
    let spec = json!({ "containers": [], "hostnameOverride": "o".repeat(64) });
    assert_eq!(
        names(&crate::testing::pod(spec), "cluster.local").0,
        "o".repeat(63)
    );
}

#[test]
fn the_kernel_tells_no_more_than_64_bytes_of_a_name() {
    let of = |hostname: &str, full: bool| {
        let spec = json!({ "containers": [], "hostname": hostname, "subdomain": "s", "setHostnameAsFQDN": full });
        nodename(&pod(spec), "cluster.local")
    };
    let domain = "s.shop.svc.cluster.local";
    assert_eq!(of("h", false).unwrap(), "h");
    assert_eq!(of("h", true).unwrap(), format!("h.{domain}"));
    let longest = "h".repeat(64 - 1 - domain.len());
    assert_eq!(of(&longest, true).unwrap(), format!("{longest}.{domain}"));
    let longer = format!("{longest}h");
    let expected = format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {longer}.{domain} is too long (64 characters is the max, 65 characters requested)"
    );
    assert_eq!(of(&longer, true).unwrap_err(), expected);
}

#[test]
fn the_file_has_addresses_and_aliases() {
    let pod = pod(json!({ "containers": [], "hostname": "h", "subdomain": "s",
        "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["a", "b"] }] }));
    let ips = ["10.42.0.7", "fd42::7"].map(String::from);
    let text = file(&pod, &ips, "cluster.local", None);
    assert!(
        text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"),
        "{text}"
    );
    assert!(
        text.contains("10.42.0.7\th.s.shop.svc.cluster.local\th\n"),
        "{text}"
    );
    assert!(
        text.contains("fd42::7\th.s.shop.svc.cluster.local\th\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
        "{text}"
    );
    let own = file(&pod, &[], "cluster.local", Some("127.0.0.1 node\n"));
    assert!(
        own.starts_with("# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n"),
        "{own}"
    );
}

#[test]
fn the_nodes_own_file_has_a_limit() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let limit = usize::try_from(MAX_BYTES).unwrap();
    for (bytes, is_read) in [(0, true), (limit, true), (limit + 1, false)] {
        std::fs::write(file.path(), "#".repeat(bytes)).unwrap();
        assert_eq!(of_node(file.path()).is_ok(), is_read, "{bytes} bytes");
    }
}
