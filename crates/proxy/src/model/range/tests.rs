use super::*;

#[test]
fn ranges_within_others_are_left_out() {
    for (given, wanted) in [
        (
            vec!["10.0.0.0/8", "192.0.2.0/24", "10.1.0.0/16", "10.1.2.3/32"],
            vec!["10.0.0.0/8", "192.0.2.0/24"],
        ),
        (vec!["10.1.0.0/16", "10.1.0.0/16"], vec!["10.1.0.0/16"]),
        (vec!["10.1.0.0/16", "0.0.0.0/0"], vec!["0.0.0.0/0"]),
        (
            vec!["fd00:1:2::/48", "fd00:1::/32", "2001:db8::1/128"],
            vec!["fd00:1::/32", "2001:db8::1/128"],
        ),
        (vec!["fd00::/8", "::/0"], vec!["::/0"]),
    ] {
        let ranges = given.iter().map(|range| range.parse().unwrap());
        let shown: Vec<_> = disjoint(ranges.collect())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, wanted, "{given:?}");
    }
}
