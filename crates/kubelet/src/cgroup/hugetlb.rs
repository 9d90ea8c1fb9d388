//! The files that limit huge pages, of both versions. Besides the pages that are used there are, in newer kernels, those that are
//! promised: a group that has promised itself more than it may use would be killed for using it.

use std::path::Path;

use super::Setting;
use crate::resources::huge_pages::PageLimit;

/// The controller's name, in both versions.
pub(super) const CONTROLLER: &str = "hugetlb";
/// What version 1 takes for no limit: it rounds down to what it can count.
const UNBOUNDED: i64 = 1 << 62;

pub(super) fn v1(dir: &Path, limits: &[PageLimit]) -> Vec<Setting> {
    settings(dir, limits, "limit_in_bytes", &UNBOUNDED.to_string())
}

pub(super) fn v2(dir: &Path, limits: &[PageLimit]) -> Vec<Setting> {
    settings(dir, limits, "max", "max")
}

fn settings(dir: &Path, limits: &[PageLimit], file: &str, unbounded: &str) -> Vec<Setting> {
    let of = |limit: &PageLimit| {
        let size = limit.size.in_groups();
        let bytes = limit.bytes;
        let value = bytes.map_or_else(|| unbounded.to_owned(), |bytes| bytes.to_string());
        ["", "rsvd."].map(|kind| {
            (
                dir.join(format!("{CONTROLLER}.{size}.{kind}{file}")),
                value.clone(),
            )
        })
    };
    limits.iter().flat_map(of).collect()
}
