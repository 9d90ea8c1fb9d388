//! Patterns of hosts: a name, `*.` before one, or nothing, which is for all.

/// Longest name of a host (RFC 1035); no pattern is for a longer one, but the one for all.
const MAX_BYTES: usize = 255;

/// Under which a pattern is kept: as itself, `*.example.com` as `.example.com`.
pub fn key(pattern: &str) -> &str {
    pattern.strip_prefix('*').unwrap_or(pattern)
}

/// The keys of the patterns for a host, the most specific first: `a.b.c`, `.b.c`, `.c` and the empty one.
pub fn keys(host: &str) -> impl Iterator<Item = &str> {
    let named = Some(host).filter(|host| !host.is_empty() && host.len() <= MAX_BYTES);
    let all = std::iter::successors(named, |key| {
        let from = usize::from(key.starts_with('.'));
        let rest = key.get(from..)?;
        rest.get(rest.find('.')?..)
    });
    all.chain([""])
}

/// Whether a key of [`keys`] is of a wildcard for more than one label.
pub fn is_above_parent(key: &str, host: &str) -> bool {
    let parent = host.find('.').and_then(|dot| host.get(dot..));
    key.starts_with('.') && parent != Some(key)
}

/// The hosts that two patterns have in common, which are one's or the other's.
pub fn intersection<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    match (covers(one, other), covers(other, one)) {
        (true, _) => Some(other),
        (_, true) => Some(one),
        _ => None,
    }
}

/// Whether all hosts of `narrow` are `wide`'s.
fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        Some(suffix) => {
            let narrow = key(narrow);
            narrow.len() > suffix.len() && narrow.ends_with(suffix) || narrow == suffix
        }
        None => wide.is_empty() || wide == narrow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_for_a_host() {
        let all = |host| keys(host).collect::<Vec<_>>();
        assert_eq!(all("a.b.c"), ["a.b.c", ".b.c", ".c", ""]);
        assert_eq!(all("localhost"), ["localhost", ""]);
        assert_eq!(all(""), [""]);
        assert_eq!(all(&"a.".repeat(1000)), [""]);
        assert_eq!(key("*.b.c"), ".b.c");
        assert!(!is_above_parent(".b.c", "a.b.c"));
        assert!(is_above_parent(".c", "a.b.c"));
        assert!(!is_above_parent("a.b.c", "a.b.c"));
    }

    #[test]
    fn hosts_in_common() {
        let cases = [
            ("", "a.example.com", Some("a.example.com")),
            ("", "", Some("")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "aexample.com", None),
            ("a.example.com", "b.example.com", None),
            ("*.com", "*.example.org", None),
        ];
        for (one, other, expected) in cases {
            assert_eq!(intersection(one, other), expected, "{one} {other}");
            assert_eq!(intersection(other, one), expected, "{other} {one}");
        }
    }
}
