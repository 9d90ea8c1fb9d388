//! How group-versions are ordered in discovery: what upstream's table in kube-apiserver says of its own, and what custom resources get.

/// The priority of a group-version: of its group among the groups, and of its version in the group. Greater ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    pub group: i32,
    pub version: i32,
}

/// Custom resources come behind everything else; versions of one priority are ordered by their names.
pub const CUSTOM: Priority = priority(1000, 100);

/// What clients see first: no APIService may have as much.
const OWN: Priority = priority(20_001, 0);

const fn priority(group: i32, version: i32) -> Priority {
    Priority { group, version }
}

/// Upstream's `DefaultGenericAPIServicePriorities` (pkg/controlplane/apiserver) with `apiVersionPriorities`
/// (cmd/kube-apiserver/app).
const TABLE: &[(&str, &str, Priority)] = &[
    ("", "v1", priority(18_000, 1)),
    ("admissionregistration.k8s.io", "v1", priority(16_700, 15)),
    (
        "admissionregistration.k8s.io",
        "v1alpha1",
        priority(16_700, 9),
    ),
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        priority(16_700, 12),
    ),
    ("apiextensions.k8s.io", "v1", priority(16_700, 15)),
    ("apps", "v1", priority(17_800, 15)),
    ("authentication.k8s.io", "v1", priority(17_700, 15)),
    ("authentication.k8s.io", "v1alpha1", priority(17_700, 1)),
    ("authentication.k8s.io", "v1beta1", priority(17_700, 9)),
    ("authorization.k8s.io", "v1", priority(17_600, 15)),
    ("autoscaling", "v1", priority(17_500, 15)),
    ("autoscaling", "v2", priority(17_500, 30)),
    ("batch", "v1", priority(17_400, 15)),
    ("certificates.k8s.io", "v1", priority(17_300, 15)),
    ("certificates.k8s.io", "v1alpha1", priority(17_300, 1)),
    ("certificates.k8s.io", "v1beta1", priority(17_300, 9)),
    ("coordination.k8s.io", "v1", priority(16_500, 15)),
    ("coordination.k8s.io", "v1alpha2", priority(16_500, 12)),
    ("coordination.k8s.io", "v1beta1", priority(16_500, 13)),
    ("discovery.k8s.io", "v1", priority(16_200, 15)),
    ("events.k8s.io", "v1", priority(17_750, 15)),
    ("flowcontrol.apiserver.k8s.io", "v1", priority(16_100, 21)),
    ("internal.apiserver.k8s.io", "v1alpha1", priority(16_000, 9)),
    ("lifecycle.k8s.io", "v1alpha1", priority(15_700, 1)),
    ("networking.k8s.io", "v1", priority(17_200, 15)),
    ("networking.k8s.io", "v1beta1", priority(17_200, 9)),
    ("node.k8s.io", "v1", priority(16_300, 15)),
    ("policy", "v1", priority(17_100, 15)),
    ("rbac.authorization.k8s.io", "v1", priority(17_000, 15)),
    ("resource.k8s.io", "v1", priority(16_200, 21)),
    ("resource.k8s.io", "v1alpha3", priority(16_200, 1)),
    ("resource.k8s.io", "v1beta1", priority(16_200, 9)),
    ("resource.k8s.io", "v1beta2", priority(16_200, 15)),
    ("scheduling.k8s.io", "v1", priority(16_600, 15)),
    ("scheduling.k8s.io", "v1alpha3", priority(16_600, 3)),
    ("scheduling.k8s.io", "v1beta1", priority(16_600, 9)),
    ("storage.k8s.io", "v1", priority(16_800, 15)),
    ("storage.k8s.io", "v1alpha1", priority(16_800, 1)),
    ("storage.k8s.io", "v1beta1", priority(16_800, 9)),
    ("storagemigration.k8s.io", "v1", priority(15_800, 15)),
    ("storagemigration.k8s.io", "v1beta1", priority(15_800, 9)),
];

/// The priority of one of the program's own group-versions, by which it has an APIService.
pub fn registered(group: &str, version: &str) -> Option<Priority> {
    let mut found = TABLE
        .iter()
        .filter(|(g, v, _)| *g == group && *v == version);
    found.next().map(|(_, _, priority)| *priority)
}

/// The priority of a group-version that is served here.
pub fn of(group: &str, version: &str) -> Priority {
    match group {
        super::GROUP => OWN,
        group => registered(group, version).unwrap_or(CUSTOM),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Kinds, Served};

    #[test]
    fn everything_that_is_served_has_its_place() {
        let kinds = Kinds::built_in();
        let served = kinds.iter().flat_map(Served::all);
        let served: BTreeSet<(String, String)> = served
            .map(|served| (served.group().to_owned(), served.version().to_owned()))
            .collect();
        let missing: Vec<_> = served
            .iter()
            .filter(|(group, version)| registered(group, version).is_none())
            .collect();
        let own = (super::super::GROUP.to_owned(), "v1".to_owned());
        assert_eq!(missing, [&own], "all but the group of APIServices itself");
        assert_eq!(of("example.com", "v1"), CUSTOM);
    }
}
