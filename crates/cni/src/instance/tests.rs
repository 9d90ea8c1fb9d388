use super::*;

#[test]
fn identities_are_read_as_they_are_written() {
    let id = InstanceId::random().unwrap();
    assert_eq!(id.to_string().parse::<InstanceId>().unwrap(), id);
    assert_ne!(id, InstanceId::random().unwrap());
    for text in [
        "",
        "abcdefg",
        "abcdefghi",
        "ABCDEFGH",
        "abcdefg1",
        "abc/efgh",
        "ü2345678",
    ] {
        assert!(text.parse::<InstanceId>().is_err(), "{text:?}");
    }
}

#[test]
fn names_fit_the_kernel_and_tell_cluster_and_interface() {
    let (a, b): (InstanceId, InstanceId) =
        ("abcdefgh".parse().unwrap(), "zbcdefgh".parse().unwrap());
    let sandbox = "f".repeat(64);
    let name = a.link(&sandbox, "eth0");
    assert_eq!(name.len(), 15);
    assert!(name.starts_with("knarrabcd"), "{name}");
    assert_eq!(name, a.link(&sandbox, "eth0"));
    assert_ne!(name, a.link(&sandbox, "eth1"));
    assert_ne!(name, a.link(&"e".repeat(64), "eth0"));
    assert_ne!(name, b.link(&sandbox, "eth0"));
}

#[test]
fn metrics_differ_and_are_worse_than_anybody_elses() {
    let metric = |text: &str| text.parse::<InstanceId>().unwrap().route_metric();
    assert_ne!(metric("aaaaaaab"), metric("aaaaaaac"));
    assert_eq!(metric("aaaaaaab"), 0x4000_0001);
    assert_eq!(metric("77777777"), 0x7fff_ffff);
}
