//! How many huge pages of each size control groups let their processes have: as many as were asked for, and none of a size that was
//! not, whoever else has set some aside (upstream's `HugePageLimits` and `GetHugepageLimitsFromResources`).

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_cri::v1::HugepageLimit;

use super::{
    Amounts, limits, parse,
    totals::{self, Overhead, Totals},
    units::HUGE_PAGES,
};

/// Where the kernel tells of the sizes that it has.
pub(crate) const HUGE_PAGES_DIRECTORY: &str = "/sys/kernel/mm/hugepages";
const KIB: i64 = 1 << 10;

/// A size of pages that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageSize {
    /// In KiB.
    kib: i64,
}

/// What a group may have of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageLimit {
    pub size: PageSize,
    /// `None` for any number.
    pub bytes: Option<i64>,
}

impl PageSize {
    /// By the kernel's directory for it: `hugepages-2048kB`.
    pub(crate) fn of_directory(name: &str) -> Option<Self> {
        let kib = name.strip_prefix(HUGE_PAGES)?.strip_suffix("kB")?;
        let kib = kib.parse::<i64>().ok().filter(|kib| *kib > 0)?;
        Some(Self { kib })
    }

    /// The kernel's directory for it.
    pub(crate) fn in_kernel(self) -> String {
        format!("{HUGE_PAGES}{}kB", self.kib)
    }

    /// By the name of the resource: `hugepages-2Mi`.
    fn of_resource(name: &str) -> Option<Self> {
        let size = parse(&ApiQuantity(name.strip_prefix(HUGE_PAGES)?.to_owned()))?;
        let kib = size.value() / KIB;
        (kib > 0).then_some(Self { kib })
    }

    /// As the API spells it: `2Mi`.
    pub(crate) fn in_resources(self) -> String {
        self.spelled(["Ki", "Mi", "Gi"])
    }

    /// As names of files of control groups and CRI spell it: `2MB`.
    pub(crate) fn in_groups(self) -> String {
        self.spelled(["KB", "MB", "GB"])
    }

    pub(crate) fn bytes(self) -> i64 {
        self.kib.saturating_mul(KIB)
    }

    fn spelled(self, [kibi, mebi, gibi]: [&str; 3]) -> String {
        match self.kib {
            kib if kib % (KIB * KIB) == 0 => format!("{}{gibi}", kib / (KIB * KIB)),
            kib if kib % KIB == 0 => format!("{}{mebi}", kib / KIB),
            kib => format!("{kib}{kibi}"),
        }
    }
}

/// The sizes that the kernel has, in order; `directory` is where it tells of them.
pub(crate) fn sizes(directory: &Path) -> Vec<PageSize> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sizes: Vec<PageSize> = entries
        .filter_map(|entry| PageSize::of_directory(&entry.file_name().to_string_lossy()))
        .collect();
    sizes.sort_unstable();
    sizes
}

/// What a pod may have of each size: what it requests as a whole.
pub(crate) fn of_pod(pod: &Pod, sizes: &[PageSize]) -> Vec<PageLimit> {
    let asked = asked(&totals::requests(pod, Overhead::Counts));
    let limit = |size: &PageSize| PageLimit {
        size: *size,
        bytes: Some(asked.get(size).copied().unwrap_or_default()),
    };
    sizes.iter().map(limit).collect()
}

/// What a container may have of each size: by its own limits, and by the pod's where it says nothing.
pub(crate) fn of_container(
    pod: &Pod,
    container: &Container,
    sizes: impl IntoIterator<Item = PageSize>,
) -> Vec<HugepageLimit> {
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let mut allowed = read(whole.and_then(|whole| whole.limits.as_ref()));
    allowed.extend(read(limits(container)));
    let sizes = sizes.into_iter();
    sizes
        .map(|size| HugepageLimit {
            page_size: size.in_groups(),
            limit: allowed
                .get(&size)
                .and_then(|bytes| u64::try_from(*bytes).ok())
                .unwrap_or_default(),
        })
        .collect()
}

fn read(amounts: Option<&Amounts>) -> BTreeMap<PageSize, i64> {
    asked(&totals::read(amounts))
}

/// Bytes by size; two names of one size add up.
fn asked(totals: &Totals) -> BTreeMap<PageSize, i64> {
    let mut asked = BTreeMap::new();
    for (name, amount) in totals {
        if let Some(size) = PageSize::of_resource(name) {
            let sum = asked.entry(size).or_insert(0_i64);
            *sum = sum.saturating_add(amount.value());
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sizes_of(kib: &[i64]) -> Vec<PageSize> {
        kib.iter().map(|kib| PageSize { kib: *kib }).collect()
    }

    #[test]
    fn sizes_are_those_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "hugepages-1048576kB",
            "hugepages-2048kB",
            "hugepages-64kB",
            "other",
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let spelled: Vec<_> = sizes(dir.path())
            .iter()
            .map(|size| (size.in_resources(), size.in_groups()))
            .collect();
        let wanted = [("64Ki", "64KB"), ("2Mi", "2MB"), ("1Gi", "1GB")];
        assert_eq!(
            spelled,
            wanted.map(|(api, group)| (api.to_owned(), group.to_owned()))
        );
    }

    #[test]
    fn a_group_has_none_of_what_was_not_asked_for() {
        let amounts = json!({ "hugepages-2Mi": "4Mi", "cpu": "1", "memory": "1Mi" });
        let container =
            json!({ "name": "a", "resources": { "requests": amounts, "limits": amounts } });
        let pod = crate::testing::pod(json!({ "containers": [container, { "name": "b" }] }));
        let sizes = sizes_of(&[2_048, 1_048_576]);
        let limits: Vec<_> = of_pod(&pod, &sizes).iter().map(|l| l.bytes).collect();
        assert_eq!(limits, [Some(4 << 20), Some(0)]);
        let of = |pod: &Pod, at: usize| -> Vec<(String, u64)> {
            let containers = &pod.spec.as_ref().unwrap().containers;
            let limits = of_container(pod, &containers[at], sizes.iter().copied());
            limits.into_iter().map(|l| (l.page_size, l.limit)).collect()
        };
        let wanted = |small| vec![("2MB".to_owned(), small), ("1GB".to_owned(), 0)];
        assert_eq!(of(&pod, 0), wanted(4 << 20));
        assert_eq!(of(&pod, 1), wanted(0));
        // What is said for the whole pod counts for those that say nothing.
        let mut pod = pod;
        pod.spec.as_mut().unwrap().resources = Some(crate::testing::object(
            json!({ "limits": { "hugepages-2Mi": "8Mi" } }),
        ));
        assert_eq!(of(&pod, 0), wanted(4 << 20));
        assert_eq!(of(&pod, 1), wanted(8 << 20));
    }
}
