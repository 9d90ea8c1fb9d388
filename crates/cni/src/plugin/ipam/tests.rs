use super::*;

fn open(dir: &Path, subnet: &str) -> Ipam {
    Ipam::open(dir, "test", subnet.parse().unwrap()).unwrap()
}

#[test]
fn addresses_go_round_robin_and_stay_with_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let a = open(dir.path(), "10.1.2.0/29")
        .allocate("a", "eth0")
        .unwrap();
    let b = open(dir.path(), "10.1.2.0/29")
        .allocate("b", "eth0")
        .unwrap();
    assert_ne!(a, b);
    let ipam = open(dir.path(), "10.1.2.0/29");
    assert_eq!(ipam.allocate("a", "eth0").unwrap(), a);
    ipam.release("a", "eth0").unwrap();
    ipam.release("a", "eth0").unwrap();
    assert_eq!(ipam.address_of("a", "eth0").unwrap(), None);
    let c = ipam.allocate("c", "eth0").unwrap();
    assert!(
        c != a && c != b,
        "a freed address is not handed out at once"
    );
}

#[test]
fn a_full_subnet_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = open(dir.path(), "10.1.2.0/29");
    let mut got: Vec<_> = (0..5)
        .map(|i| ipam.allocate(&i.to_string(), "eth0").unwrap())
        .collect();
    got.sort();
    let expected: Vec<Ipv4Addr> = (2..=6).map(|i| Ipv4Addr::new(10, 1, 2, i)).collect();
    assert_eq!(got, expected);
    let error = ipam.allocate("one too many", "eth0").unwrap_err();
    assert_eq!(error.code, PluginError::NO_ADDRESS);
}

#[test]
fn bad_subnets_and_names_are_refused() {
    for text in ["10.0.0.0", "10.0.0.0/31", "10.0.0.0/x", "::/64"] {
        assert!(text.parse::<Subnet>().is_err(), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let subnet = "10.0.0.0/24".parse().unwrap();
    assert!(Ipam::open(dir.path(), "../up", subnet).is_err());
}
