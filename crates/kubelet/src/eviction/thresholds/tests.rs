use super::*;
use crate::configuration::KubeletConfiguration;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn settings(hard: Pairs<'_>, soft: Pairs<'_>, grace: Pairs<'_>, reclaim: Pairs<'_>) -> Settings {
    let map = |pairs: Pairs<'_>| {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let mut own = Settings::clone(&KubeletConfiguration::default().settings);
    own.eviction_hard = map(hard);
    own.eviction_soft = map(soft);
    own.eviction_soft_grace_period = map(grace);
    own.eviction_minimum_reclaim = map(reclaim);
    own
}

#[test]
fn thresholds_are_read_as_upstream_reads_them() {
    let own = settings(
        &[
            ("memory.available", "100Mi"),
            ("nodefs.available", "10%"),
            ("imagefs.available", "0%"),
            ("containerfs.available", "1%"),
        ],
        &[("memory.available", "300Mi")],
        &[("memory.available", "30s")],
        &[("memory.available", "1Gi"), ("nodefs.available", "5%")],
    );
    let reclaim = Some(Amount::Fixed(1 << 30));
    let memory = Threshold {
        signal: Signal::Memory,
        least: Amount::Fixed(100 << 20),
        grace: None,
        reclaim,
    };
    let Thresholds(read) = Thresholds::parse(&own).unwrap();
    assert_eq!(
        read,
        [
            memory,
            Threshold {
                signal: Signal::NodeFs,
                least: Amount::Share(0.1),
                grace: None,
                reclaim: Some(Amount::Share(0.05)),
            },
            Threshold {
                least: Amount::Fixed(300 << 20),
                grace: Some(Duration::from_secs(30)),
                ..memory
            },
            Threshold {
                signal: Signal::AllocatableMemory,
                ..memory
            },
        ]
    );
}

#[test]
fn errors_are_in_upstreams_words() {
    let none: Pairs<'_> = &[];
    for (own, expected) in [
        (
            settings(&[("disk.available", "1Gi")], none, none, none),
            "unsupported eviction signal disk.available",
        ),
        (
            settings(&[("nodefs.available", "-1%")], none, none, none),
            "eviction percentage threshold nodefs.available must be >= 0%: -1%",
        ),
        (
            settings(&[("nodefs.available", "101%")], none, none, none),
            "eviction percentage threshold nodefs.available must be <= 100%: 101%",
        ),
        (
            settings(&[("memory.available", "0")], none, none, none),
            "eviction threshold memory.available must be positive: 0",
        ),
        (
            settings(none, &[("memory.available", "1Gi")], none, none),
            "grace period must be specified for the soft eviction threshold memory.available",
        ),
        (
            settings(
                none,
                &[("memory.available", "1Gi")],
                &[("memory.available", "-30s")],
                none,
            ),
            "invalid eviction grace period specified: -30s, must be a positive value",
        ),
        (
            settings(none, none, none, &[("nodefs.available", "-1Gi")]),
            "negative eviction minimum reclaim specified for nodefs.available",
        ),
        (
            settings(none, none, none, &[("nodefs.available", "0%")]),
            "eviction percentage minimum reclaim nodefs.available must be positive: 0%",
        ),
    ] {
        assert_eq!(Thresholds::parse(&own).unwrap_err(), expected);
    }
}

#[test]
fn what_must_be_left_is_promised_to_nobody() {
    let own = settings(
        &[("memory.available", "100Mi"), ("nodefs.available", "10%")],
        &[("memory.available", "1Gi")],
        &[("memory.available", "1m")],
        &[],
    );
    let thresholds = Thresholds::parse(&own).unwrap();
    assert_eq!(thresholds.kept(8 << 30, 1_000), (100 << 20, 100));
    assert_eq!(Thresholds::default().kept(8 << 30, 1_000), (0, 0));
}
