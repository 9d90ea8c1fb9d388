//! Names of groups, versions and kinds in the names and the descriptions of operations.

/// `CoreV1`, `RbacAuthorizationV1`.
pub(super) fn group_version(of: &str, version: &str) -> String {
    format!("{}{}", group(of), capital(version))
}

/// `Core`, `RbacAuthorization`.
pub(super) fn group(name: &str) -> String {
    words(name).map(capital).collect()
}

/// `core`, `rbacAuthorization`.
pub(super) fn tag(group: &str) -> String {
    let mut words = words(group);
    let first = words.next().unwrap_or_default();
    std::iter::once(first.to_owned())
        .chain(words.map(capital))
        .collect()
}

fn words(group: &str) -> impl Iterator<Item = &str> {
    let group = match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => "core",
        group => group,
    };
    group.split('.')
}

/// As upstream writes words in such names: the first letter large.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

/// A kind with its article, which plurals do not have: `a Pod`, `an Event`, `Endpoints`.
pub(super) fn with_article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return kind.to_owned();
    }
    match kind.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) {
        true => format!("an {kind}"),
        false => format!("a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        assert_eq!(group_version("", "v1"), "CoreV1");
        assert_eq!(
            group_version("rbac.authorization.k8s.io", "v1"),
            "RbacAuthorizationV1"
        );
        assert_eq!(tag("rbac.authorization.k8s.io"), "rbacAuthorization");
        assert_eq!(tag(""), "core");
        for (kind, wanted) in [
            ("Pod", "a Pod"),
            ("Event", "an Event"),
            ("IPAddress", "an IPAddress"),
            ("Endpoints", "Endpoints"),
            ("StorageClass", "a StorageClass"),
        ] {
            assert_eq!(with_article(kind), wanted);
        }
    }
}
