use super::*;

fn amount(capacity: u64, available: u64) -> Option<Amount> {
    Some(Amount {
        capacity,
        available,
    })
}

fn figures(memory: u64, disk: u64, inodes: u64) -> Figures {
    Figures {
        memory: amount(8 << 30, memory),
        disk: amount(100 << 30, disk),
        inodes: amount(1_000, inodes),
    }
}

#[test]
fn thresholds_in_upstreams_words() {
    let now = Instant::now();
    for (figures, expected) in [
        (figures(1 << 30, 50 << 30, 500), None),
        (figures(100 << 20, 5 << 30, 50), None),
        (
            figures(99 << 20, 1 << 30, 1),
            Some(
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. ",
            ),
        ),
        (
            figures(1 << 30, 4 << 30, 500),
            Some(
                "The node was low on resource: ephemeral-storage. Threshold quantity: 5Gi, available: 4Gi. ",
            ),
        ),
        (
            figures(1 << 30, 50 << 30, 49),
            Some("The node was low on resource: inodes. Threshold quantity: 50, available: 49. "),
        ),
        (Figures::default(), None),
    ] {
        let short = Shortages::default().look(&figures, now);
        assert_eq!(short.map(|short| short.message()).as_deref(), expected);
    }
}

#[test]
fn a_pressure_lasts_until_it_has_not_been_seen_for_a_while() {
    let start = Instant::now();
    let mut shortages = Shortages::default();
    let plenty = figures(1 << 30, 50 << 30, 500);
    shortages.look(&figures(1 << 30, 1 << 30, 500), start);
    assert_eq!(shortages.pressures(), [Pressure::Disk]);
    assert!(shortages.look(&plenty, start + TRANSITION / 2).is_none());
    assert_eq!(shortages.pressures(), [Pressure::Disk]);
    shortages.look(&figures(1 << 20, 50 << 30, 500), start + TRANSITION);
    assert_eq!(shortages.pressures(), [Pressure::Memory]);
    shortages.look(&plenty, start + TRANSITION * 2);
    assert_eq!(shortages.pressures(), []);
}

#[test]
fn the_host_tells_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let read = Figures::read(dir.path());
    for amount in [read.memory.unwrap(), read.disk.unwrap()] {
        assert!(0 < amount.available && amount.available <= amount.capacity);
    }
}
