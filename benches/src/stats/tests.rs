use super::*;

fn millis_of(values: &[u64]) -> Latencies {
    Latencies::new(values.iter().copied().map(Duration::from_millis).collect())
}

#[test]
fn percentiles_are_values_that_occurred() {
    let hundred: Vec<u64> = (1..=100).rev().collect();
    for (values, percent, wanted) in [
        (&[][..], 50.0, 0),
        (&[7], 50.0, 7),
        (&[7], 99.0, 7),
        (&[1, 2], 50.0, 1),
        (&[3, 1, 2], 50.0, 2),
        (&[4, 3, 2, 1], 100.0, 4),
        (&[4, 3, 2, 1], 0.0, 1),
        (&hundred, 50.0, 50),
        (&hundred, 99.0, 99),
        (&hundred, 99.1, 100),
    ] {
        let got = millis_of(values).percentile(percent);
        assert_eq!(
            got,
            Duration::from_millis(wanted),
            "p{percent} of {values:?}"
        );
    }
}

#[test]
fn numbers_are_short() {
    for (value, wanted) in [
        (0.0, "0.00"),
        (0.157, "0.16"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (999.6, "1 000"),
        (35_123.4, "35 123"),
        (1_234_567.0, "1 234 567"),
        (-1234.0, "-1 234"),
    ] {
        assert_eq!(number(value), wanted, "{value}");
    }
}
