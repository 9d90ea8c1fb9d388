use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn bits_of_the_host_are_cleared() {
    for (text, shown) in [
        ("10.42.7.9/16", "10.42.0.0/16"),
        ("10.42.7.9/32", "10.42.7.9/32"),
        ("10.42.7.9/0", "0.0.0.0/0"),
        ("fd00:1::5/64", "fd00:1::/64"),
        ("fd00:1::5/128", "fd00:1::5/128"),
    ] {
        assert_eq!(prefix(text).to_string(), shown);
    }
}

#[test]
fn what_is_no_range_is_refused() {
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0/8",
        "fd00::/129",
        "10.0.0.0/-1",
        "10.0.0.0/ 8",
    ] {
        assert!(text.parse::<Prefix>().is_err(), "{text}");
    }
}

#[test]
fn ranges_within_ranges() {
    for (one, other, covers, overlaps) in [
        ("10.0.0.0/8", "10.42.0.0/16", true, true),
        ("10.42.0.0/16", "10.0.0.0/8", false, true),
        ("10.42.0.0/16", "10.43.0.0/16", false, false),
        ("0.0.0.0/0", "fd00::/64", false, false),
        ("::/0", "10.0.0.0/8", false, false),
        ("fd00::/48", "fd00::/64", true, true),
    ] {
        let (one, other) = (prefix(one), prefix(other));
        assert_eq!(one.covers(&other), covers, "{one} covers {other}");
        assert_eq!(one.overlaps(&other), overlaps, "{one} overlaps {other}");
        assert_eq!(other.overlaps(&one), overlaps, "{other} overlaps {one}");
    }
}

#[test]
fn addresses_are_counted_within_the_range() {
    let text = |range: &str, place| prefix(range).nth(place).map(|address| address.to_string());
    assert_eq!(text("10.0.0.0/24", 255).as_deref(), Some("10.0.0.255"));
    assert_eq!(text("10.0.0.0/24", 256), None);
    assert_eq!(text("255.255.255.0/24", 256), None);
    assert_eq!(text("fd00::/64", 16).as_deref(), Some("fd00::10"));
    assert_eq!(
        text("0.0.0.0/0", u32::MAX).as_deref(),
        Some("255.255.255.255")
    );
}
