use super::*;

fn range(text: &str) -> Range {
    text.parse().unwrap()
}

#[test]
fn ranges_are_read_and_written() {
    for (text, wanted) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 192.0.2.1/32 ", "192.0.2.1/32"),
        ("1.2.3.4/0", "0.0.0.0/0"),
    ] {
        assert_eq!(range(text).to_string(), wanted);
    }
    for text in ["10.0.0.0/33", "10.0.0.0", "fd00::/8", "x/8", ""] {
        assert_eq!(text.parse::<Range>(), Err(NotIpv4), "{text}");
    }
}

#[test]
fn ranges_contain_their_addresses() {
    let (first, last) = (Ipv4Addr::new(10, 43, 0, 0), Ipv4Addr::new(10, 43, 255, 255));
    let services = range("10.43.0.0/16");
    assert!(services.contains(first) && services.contains(last));
    assert!(!services.contains(Ipv4Addr::new(10, 44, 0, 0)));
    assert!(range("0.0.0.0/0").contains(last));
}

#[test]
fn the_widest_ranges_are_kept() {
    let ranges = ["10.1.0.0/16", "192.0.2.0/24", "10.0.0.0/8", "10.0.0.0/8"].map(range);
    let kept: Vec<String> = disjoint(ranges.to_vec())
        .iter()
        .map(Range::to_string)
        .collect();
    assert_eq!(kept, ["10.0.0.0/8", "192.0.2.0/24"]);
}
