use super::*;

/// As upstream's v1.37 writes them.
const CPUS: &str = include_str!("cpus.json");
const MEMORY: &str = include_str!("memory.json");

#[test]
fn cpus_are_written_and_read_as_upstream_does() {
    let state = read_cpus("static", CPUS.as_bytes()).unwrap();
    assert_eq!(state.shared.to_string(), "0,2-3");
    assert_eq!(state.given["u1"]["c"].to_string(), "5-6");
    let written = write_cpus("static", &state).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), CPUS.trim_end());
}

#[test]
fn memory_is_written_and_read_as_upstream_does() {
    let state = read_memory("Static", MEMORY.as_bytes()).unwrap();
    assert_eq!(state.machine[&0].memory["memory"].reserved, 3);
    assert_eq!(state.given["u1"]["a"][0].size, 3);
    let written = write_memory("Static", &state).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), MEMORY.trim_end());
}

#[test]
fn files_of_older_kubelets_are_read() {
    // Known from every node without a policy.
    let none = br#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#;
    assert_eq!(read_cpus("none", none), Ok(cpus::State::default()));
    let none = br#"{"policyName":"None","machineState":{},"checksum":4236770233}"#;
    assert_eq!(read_memory("None", none), Ok(memory::State::default()));
    let old = br#"{"policyName":"static","defaultCpuSet":"0,2-3","entries":{"u1":{"c":"5-6"},"u2":{"a":"1","b":"4"}},"checksum":2172453110}"#;
    assert_eq!(
        read_cpus("static", old),
        read_cpus("static", CPUS.as_bytes())
    );
}

#[test]
fn what_is_damaged_or_of_another_policy_is_not_believed() {
    let error = read_cpus(
        "static",
        CPUS.replace("3649436809", "3649436808").as_bytes(),
    );
    assert_eq!(
        error,
        Err(Error::Checksum {
            said: 3_649_436_808,
            found: 3_649_436_809
        })
    );
    let changed = MEMORY.replace(r#"\"reserved\":3"#, r#"\"reserved\":4"#);
    assert!(matches!(
        read_memory("Static", changed.as_bytes()),
        Err(Error::Checksum { .. })
    ));
    let other = read_cpus("none", CPUS.as_bytes()).unwrap_err();
    let said = "configured policy \"none\" differs from state checkpoint policy \"static\"";
    assert_eq!(other.to_string(), said);
    for bytes in [&b""[..], b"{", b"[]", b"{\"checksum\":0}", b"\xff"] {
        assert!(matches!(read_cpus("static", bytes), Err(Error::Broken(_))));
        assert!(matches!(
            read_memory("Static", bytes),
            Err(Error::Broken(_))
        ));
    }
    let wrong = br#"{"policyName":"static","defaultCpuSet":"0-","checksum":0}"#;
    assert!(matches!(read_cpus("static", wrong), Err(Error::Broken(_))));
}
