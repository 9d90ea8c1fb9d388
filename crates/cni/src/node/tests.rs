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
