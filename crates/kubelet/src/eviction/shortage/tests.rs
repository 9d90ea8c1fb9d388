use super::*;
use crate::eviction::thresholds::Amount;

const TRANSITION: Duration = Duration::from_secs(300);

/// Memory in MiB of 8 GiB, disk in GiB of 100, inodes of a thousand, pids of ten thousand.
fn figures(memory: u64, disk: u64, inodes: u64, pids: u64) -> Figures {
    let left = |capacity, available| Left {
        capacity,
        available,
    };
    Figures(vec![
        (Signal::Memory, left(8 << 30, memory << 20)),
        (Signal::NodeFs, left(100 << 30, disk << 30)),
        (Signal::NodeFsInodes, left(1_000, inodes)),
        (Signal::Pids, left(10_000, pids)),
    ])
}

fn plenty() -> Figures {
    figures(4_000, 50, 500, 5_000)
}

fn hard(signal: Signal, least: Amount) -> Threshold {
    Threshold {
        signal,
        least,
        grace: None,
        reclaim: None,
    }
}

fn shortages(thresholds: Vec<Threshold>) -> Shortages {
    Shortages::new(Thresholds(thresholds), TRANSITION)
}

fn usual() -> Vec<Threshold> {
    vec![
        hard(Signal::NodeFs, Amount::Share(0.05)),
        hard(Signal::NodeFsInodes, Amount::Share(0.05)),
        hard(Signal::Pids, Amount::Fixed(100)),
        hard(Signal::Memory, Amount::Fixed(100 << 20)),
    ]
}

#[test]
fn thresholds_in_upstreams_words() {
    let now = Instant::now();
    for (figures, expected) in [
        (plenty(), None),
        (figures(100, 5, 50, 100), None),
        (
            figures(99, 1, 1, 1),
            Some(
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. ",
            ),
        ),
        (
            figures(4_000, 4, 500, 5_000),
            Some(
                "The node was low on resource: ephemeral-storage. Threshold quantity: 5Gi, available: 4Gi. ",
            ),
        ),
        (
            figures(4_000, 50, 49, 5_000),
            Some("The node was low on resource: inodes. Threshold quantity: 50, available: 49. "),
        ),
        (
            figures(4_000, 50, 500, 99),
            Some("The node was low on resource: pids. Threshold quantity: 100, available: 99. "),
        ),
        (Figures::default(), None),
    ] {
        let short = shortages(usual()).look(&figures, now);
        let message = short.first().map(Short::message);
        assert_eq!(message.as_deref(), expected);
    }
}

#[test]
fn a_pressure_lasts_until_it_has_not_been_seen_for_a_while() {
    let start = Instant::now();
    let mut shortages = shortages(usual());
    shortages.look(&figures(4_000, 1, 500, 5_000), start);
    assert_eq!(shortages.pressures(), [Pressure::Disk]);
    assert!(shortages.look(&plenty(), start + TRANSITION / 2).is_empty());
    assert_eq!(shortages.pressures(), [Pressure::Disk]);
    shortages.look(&figures(1, 50, 500, 5_000), start + TRANSITION);
    assert_eq!(shortages.pressures(), [Pressure::Memory]);
    shortages.look(&plenty(), start + TRANSITION * 2);
    assert_eq!(shortages.pressures(), []);
    shortages.look(&figures(4_000, 50, 500, 1), start + TRANSITION * 3);
    assert_eq!(shortages.pressures(), [Pressure::Pid]);
}

#[test]
fn a_soft_threshold_is_told_at_once_and_acted_upon_after_its_grace() {
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let soft = Threshold {
        grace: Some(minute),
        ..hard(Signal::Memory, Amount::Fixed(1 << 30))
    };
    let mut shortages = shortages(vec![soft]);
    let low = figures(500, 50, 500, 5_000);
    assert!(shortages.look(&low, start).is_empty());
    assert_eq!(shortages.pressures(), [Pressure::Memory]);
    assert!(shortages.look(&low, start + minute / 2).is_empty());
    assert_eq!(shortages.look(&low, start + minute).len(), 1);
    // It counts anew from the next time on.
    shortages.look(&plenty(), start + minute * 2);
    assert!(shortages.look(&low, start + minute * 3).is_empty());
}

#[test]
fn once_acted_upon_the_minimum_has_to_be_reclaimed() {
    let now = Instant::now();
    let threshold = Threshold {
        reclaim: Some(Amount::Fixed(10 << 30)),
        ..hard(Signal::NodeFs, Amount::Share(0.05))
    };
    let mut shortages = shortages(vec![threshold]);
    let (low, between, enough) = (
        figures(4_000, 4, 500, 5_000),
        figures(4_000, 14, 500, 5_000),
        figures(4_000, 15, 500, 5_000),
    );
    assert!(shortages.look(&between, now).is_empty());
    let short = shortages.look(&low, now);
    assert_eq!(short.len(), 1);
    assert!(lasts(&short, &between) && !lasts(&short, &enough));
    assert_eq!(shortages.look(&between, now).len(), 1);
    assert!(shortages.look(&enough, now).is_empty());
    assert!(shortages.look(&between, now).is_empty());
}
