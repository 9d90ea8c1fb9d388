use proptest::prelude::*;

use super::*;

proptest! {
    /// What a lease's file says is read back; anything else is refused.
    #[test]
    fn leases_are_read_as_they_are_written(id in "[0-9a-f]{1,64}", ifname in "[a-z0-9]{1,15}", ports in prop::collection::vec(any::<u16>(), 0..4), pod in prop::option::of("[0-9a-f-]{1,36}"), cut in any::<prop::sample::Index>()) {
        let address = IpAddr::from([10, 1, 2, 3]);
        let mapping = |port: u16| PortMapping {
            host_port: port,
            container_port: port,
            protocol: "tcp".to_owned(),
            host_ip: String::new(),
        };
        let lease = Lease {
            address,
            container_id: id,
            ifname,
            port_mappings: ports.into_iter().map(mapping).collect(),
            pod,
        };
        let text = lease.text().unwrap();
        prop_assert_eq!(Lease::parse(address, &text), Some(lease));
        let _ = Lease::parse(address, &text[..cut.index(text.len())]);
    }

    #[test]
    fn no_lease_panics(text in "\\PC*") {
        let _ = Lease::parse(IpAddr::from([127, 0, 0, 1]), &text);
    }
}

fn open(dir: &Path, subnet: &str) -> Ipam {
    let subnets: Vec<Subnet> = subnet.split(',').map(|s| s.parse().unwrap()).collect();
    Ipam::open(dir, "test", &subnets).unwrap()
}

#[test]
fn addresses_go_round_robin_and_stay_with_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let a = open(dir.path(), "10.1.2.0/29")
        .allocate("a", "eth0", &[], None)
        .unwrap();
    let b = open(dir.path(), "10.1.2.0/29")
        .allocate("b", "eth0", &[], None)
        .unwrap();
    assert_ne!(a, b);
    let ipam = open(dir.path(), "10.1.2.0/29");
    assert_eq!(ipam.allocate("a", "eth0", &[], None).unwrap(), a);
    ipam.release("a", "eth0").unwrap();
    ipam.release("a", "eth0").unwrap();
    assert_eq!(ipam.leases_of("a", "eth0").unwrap(), []);
    let c = ipam.allocate("c", "eth0", &[], None).unwrap();
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
        .map(|i| ipam.allocate(&i.to_string(), "eth0", &[], None).unwrap())
        .collect();
    got.sort();
    let expected: Vec<Vec<IpAddr>> = (2..=6).map(|i| vec![[10, 1, 2, i].into()]).collect();
    assert_eq!(got, expected);
    let error = ipam
        .allocate("one too many", "eth0", &[], None)
        .unwrap_err();
    assert_eq!(error.code, PluginError::NO_ADDRESS);
}

#[test]
fn bad_subnets_and_names_are_refused() {
    for text in [
        "10.0.0.0",
        "10.0.0.0/31",
        "10.0.0.0/x",
        "fd00::/127",
        "::/4",
    ] {
        assert!(text.parse::<Subnet>().is_err(), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let subnet = "10.0.0.0/24".parse().unwrap();
    assert!(Ipam::open(dir.path(), "../up", &[subnet]).is_err());
}

#[test]
fn a_torn_file_holds_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = open(dir.path(), "10.1.2.0/29");
    let ports = [PortMapping {
        host_port: 80,
        container_port: 8080,
        protocol: "tcp".to_owned(),
        host_ip: String::new(),
    }];
    let whole = ipam
        .allocate("whole", "eth0", &ports, Some("7d1c-uid"))
        .unwrap();
    let folder = dir.path().join("networks/test");
    for (last, text) in [(4, ""), (5, "torn"), (6, "torn eth0\n[{\"hostP")] {
        fs::write(folder.join(format!("10.1.2.{last}")), text).unwrap();
    }
    for owner in ["a", "b", "c", "d"] {
        ipam.allocate(owner, "eth0", &[], None).unwrap();
    }
    let lease = ipam.leases_of("whole", "eth0").unwrap().remove(0);
    assert_eq!(
        (vec![lease.address], lease.port_mappings.as_slice()),
        (whole, &ports[..])
    );
    assert_eq!(ipam.leases().unwrap().len(), 5);
    ipam.allocate("e", "eth0", &[], None).unwrap_err();
}

#[test]
fn a_full_disk_takes_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let ipam = open(dir.path(), "10.1.2.0/29");
    // A directory in the way of the file: it cannot be written.
    let folder = dir.path().join("networks/test");
    fs::create_dir(folder.join(NEW_FILE)).unwrap();
    ipam.allocate("a", "eth0", &[], None).unwrap_err();
    fs::remove_dir(folder.join(NEW_FILE)).unwrap();
    assert_eq!(ipam.leases().unwrap(), []);
}

#[test]
fn an_interface_has_an_address_of_each_family() {
    let dir = tempfile::tempdir().unwrap();
    let text = |addresses: Vec<IpAddr>| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    let allocate = |subnets: &str, owner: &str| {
        let ipam = open(dir.path(), subnets);
        ipam.allocate(owner, "eth0", &[], None).map(text)
    };
    let both = "fd42:0:0:7::/64,10.1.2.0/29";
    assert_eq!(allocate(both, "a").unwrap(), "fd42:0:0:7::3 10.1.2.3");
    assert_eq!(allocate(both, "b").unwrap(), "fd42:0:0:7::4 10.1.2.4");
    // A cluster that gets a second family keeps what its pods have.
    assert_eq!(allocate("10.1.2.0/29", "c").unwrap(), "10.1.2.5");
    assert_eq!(allocate(both, "c").unwrap(), "fd42:0:0:7::5 10.1.2.5");
    let ipam = open(dir.path(), both);
    assert_eq!(ipam.leases_of("b", "eth0").unwrap().len(), 2);
    ipam.release("b", "eth0").unwrap();
    assert_eq!(ipam.leases().unwrap().len(), 4);
    drop(ipam);
    // One is full: what there is of the other goes back with the interface.
    for owner in ["d", "e", "f"] {
        allocate(both, owner).unwrap();
    }
    let error = open(dir.path(), both).allocate("g", "eth0", &[], None);
    assert_eq!(error.unwrap_err().code, PluginError::NO_ADDRESS);
    open(dir.path(), both).release("g", "eth0").unwrap();
    assert_eq!(open(dir.path(), both).leases().unwrap().len(), 10);
}
