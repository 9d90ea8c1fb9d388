//! Whether this host is one that the configuration lets the kubelet run on.

use std::{fs, path::Path};

use super::Settings;

/// What `protectKernelDefaults` demands: upstream's list.
const KERNEL: [(&str, i64); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

/// Looks at the host's files.
///
/// # Errors
/// What the host has that it must not have, in upstream's words.
pub(super) fn check(own: &Settings, root: &Path) -> Result<(), String> {
    if own.protect_kernel_defaults {
        kernel(root)?;
    }
    if own.fail_swap_on && has_swap(&read(&root.join("proc/swaps"))) {
        return Err("running with swap on is not supported, please disable swap or set --fail-swap-on flag to false".to_owned());
    }
    if own.fail_cgroup_v1 && !root.join("sys/fs/cgroup/cgroup.controllers").exists() {
        return Err("kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release".to_owned());
    }
    Ok(())
}

fn kernel(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (flag, wanted) in KERNEL {
        match read(&root.join("proc/sys").join(flag))
            .trim()
            .parse::<i64>()
        {
            Ok(value) if value == wanted => {}
            Ok(value) => wrong.push(format!(
                "invalid kernel flag: {flag}, expected value: {wanted}, actual value: {value}"
            )),
            Err(_) => wrong.push(format!("invalid kernel flag: {flag} cannot be read")),
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join(", ")),
    }
}

/// A heading and a line a device.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::KubeletConfiguration;

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        Settings::clone(&KubeletConfiguration::with(change).settings)
    }

    #[test]
    fn hosts_that_are_not_wanted_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/swaps", "Filename Type\n");
        assert_eq!(
            check(&settings(|own| own.fail_swap_on = true), root),
            Ok(())
        );
        put("proc/swaps", "Filename Type\n/dev/sda2 partition\n");
        for (own, expected) in [
            (settings(|_| ()), None),
            (settings(|own| own.fail_swap_on = true), Some("swap on")),
            (settings(|own| own.fail_cgroup_v1 = true), Some("cgroup v1")),
            (
                settings(|own| own.protect_kernel_defaults = true),
                Some("kernel/panic"),
            ),
        ] {
            let error = check(&own, root).err();
            let told = error.as_deref().zip(expected);
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            assert!(
                told.is_none_or(|(error, word)| error.contains(word)),
                "{error:?}"
            );
        }
        for (flag, value) in KERNEL {
            put(&format!("proc/sys/{flag}"), &format!("{value}\n"));
        }
        let strict = settings(|own| own.protect_kernel_defaults = true);
        assert_eq!(check(&strict, root), Ok(()));
        put("proc/sys/kernel/panic", "0\n");
        assert_eq!(
            check(&strict, root).unwrap_err(),
            "invalid kernel flag: kernel/panic, expected value: 10, actual value: 0"
        );
    }
}
