//! The page size of an `emptyDir` of huge pages, which its pod has to ask for (upstream's `getPageSizeMountOption`).

use std::io;

use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::resources::{self, units::HUGE_PAGES};

/// Before the size of the medium, as [`HUGE_PAGES`] is of the resource: `HugePages-2Mi`, `hugepages-2Mi`.
const MEDIUM: &str = "HugePages";

/// In bytes; `None` for a medium that is no huge pages. Errors are in upstream's words.
pub(super) fn page_size(medium: &str, pod: &Pod) -> io::Result<Option<i64>> {
    let Some(rest) = medium.strip_prefix(MEDIUM) else {
        return Ok(None);
    };
    let wanted = match rest.strip_prefix('-') {
        Some(size) => Some(bytes(size)?),
        None if rest.is_empty() => None,
        None => return Ok(None),
    };
    let mut found = None;
    for size in requested(pod) {
        let size = bytes(size)?;
        match (wanted, found) {
            (Some(wanted), _) if wanted != size => {}
            (None, Some(other)) if other != size => {
                return Err(io::Error::other(format!(
                    "medium: {medium} can't be used if container requests multiple huge page sizes"
                )));
            }
            _ => found = Some(size),
        }
    }
    let missing = || {
        io::Error::other(format!(
            "medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        ))
    };
    found.ok_or_else(missing).map(Some)
}

/// The sizes in the names of the resources that the pod and its containers ask for.
fn requested(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let containers = spec.containers.iter().chain(init);
        let own = containers.filter_map(|container| container.resources.as_ref());
        spec.resources.iter().chain(own).flat_map(sizes)
    })
}

fn sizes(of: &ResourceRequirements) -> impl Iterator<Item = &str> {
    let requests = of.requests.iter().flatten();
    requests.filter_map(|(name, _)| name.strip_prefix(HUGE_PAGES))
}

fn bytes(size: &str) -> io::Result<i64> {
    let size = resources::parse(&Quantity(size.to_owned()));
    let bytes = size.map(|size| size.value()).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| {
        io::Error::other(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_size_is_what_the_pod_asks_for() {
        const NONE: &str = "there is no resource request for huge pages";
        let check = |medium: &str, sizes: &[&str], expected: Result<Option<i64>, &str>| {
            let containers: Vec<_> = sizes
                .iter()
                .map(|size| {
                    let resource = format!("hugepages-{size}");
                    json!({"name": size.to_lowercase(), "resources": {"requests": {resource: "4Mi", "cpu": "1"}}})
                })
                .collect();
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            match (page_size(medium, &pod), expected) {
                (Ok(size), Ok(expected)) => assert_eq!(size, expected, "{medium} {sizes:?}"),
                (Err(error), Err(expected)) => {
                    assert!(
                        error.to_string().contains(expected),
                        "{medium} {sizes:?}: {error}"
                    );
                }
                (seen, _) => panic!("{medium} {sizes:?}: {seen:?}"),
            }
        };
        check("", &["2Mi"], Ok(None));
        check("Memory", &[], Ok(None));
        check("HugePages", &["2Mi"], Ok(Some(2 << 20)));
        check("HugePages", &["2Mi", "2048Ki"], Ok(Some(2 << 20)));
        check(
            "HugePages",
            &["2Mi", "1Gi"],
            Err("multiple huge page sizes"),
        );
        check("HugePages", &[], Err(NONE));
        check("HugePages-2Mi", &["2Mi", "1Gi"], Ok(Some(2 << 20)));
        check("HugePages-1Gi", &["2Mi"], Err(NONE));
        check("HugePages-", &["2Mi"], Err("quantities must match"));
    }
}
