use super::*;

#[test]
fn maps_keep_their_elements_and_chains_are_rewritten() {
    let network = NodeNetwork {
        node_ip: Ipv4Addr::new(192, 168, 1, 2),
        cluster_cidr: (Ipv4Addr::new(10, 42, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 43, 0, 0), 16),
    };
    let script = ruleset(&network);
    assert!(!script.contains("flush table"));
    assert!(!script.contains("flush map"));
    let chains = script.matches("add chain").count();
    assert_eq!(script.matches("flush chain").count(), chains);
    assert!(script.contains(
        "ip daddr { 10.42.0.0/16, 10.43.0.0/16 } oifname != \"lo\" oifname != \"knarr*\" drop"
    ));
}

/// The kernel has the last word, in a network namespace that ends with the process.
#[test]
fn the_kernel_accepts_the_ruleset_twice() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    let network = NodeNetwork {
        node_ip: Ipv4Addr::new(192, 168, 1, 2),
        cluster_cidr: (Ipv4Addr::new(10, 42, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 43, 0, 0), 16),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    let element = format!("add element ip {TABLE} hostports {{ tcp . 80 : 10.42.0.2 . 8080 }}\n");
    let script = ruleset(&network) + &element + &ruleset(&network);
    std::fs::write(&path, script).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--net", "sh", "-c", "nft -f \"$0\" && nft list ruleset"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        listing.contains("10.42.0.2 . 8080"),
        "elements survive: {listing}"
    );
    assert_eq!(
        listing.matches("masquerade").count(),
        2,
        "rules are not doubled: {listing}"
    );
}
