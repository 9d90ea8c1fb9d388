//! Pods whose users are not the host's: what CRI may ask, and what the host has for it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use knarr_cri::v1::{self, NamespaceMode};
use knarr_host::sysctl::kernel_version;
use knarr_shim::{IdMapping, UserNamespace};

use crate::Error;

/// The first kernel on which every file system that volumes are on can have mapped owners (tmpfs was the last). Upstream asks for it.
const OLDEST_KERNEL: (u32, u32) = (6, 3);
const MAX_NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";
/// What a user namespace's map is where there is none of one's own.
const WHOLE_ID_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// Whether pods can have users of their own on this host.
pub fn supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let namespaces = read(MAX_NAMESPACES).trim().parse::<u64>();
        // In a user namespace of somebody else's, the ids that pods are to have are nothing.
        kernel_version(&read("/proc/sys/kernel/osrelease")) >= OLDEST_KERNEL
            && namespaces.is_ok_and(|most| most > 0)
            && read("/proc/self/uid_map")
                .split_whitespace()
                .eq(WHOLE_ID_MAP)
    })
}

/// Users and groups of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub uids: IdMapping,
    pub gids: IdMapping,
}

impl Ids {
    /// What a sandbox is to have; `None` has the host's. Rules and wording are containerd's.
    pub fn of(options: &v1::NamespaceOption) -> Result<Option<Self>, Error> {
        let Some(asked) = &options.userns_options else {
            return Ok(None);
        };
        let invalid = |why: String| Error::InvalidArgument(format!("user namespace: {why}"));
        let (uids, gids) = (&asked.uids, &asked.gids);
        match asked.mode() {
            NamespaceMode::Node if uids.is_empty() && gids.is_empty() => Ok(None),
            NamespaceMode::Node => Err(invalid(format!(
                "can't use user namespace mode \"NODE\" with mappings. Got {} UID mappings and {} GID mappings",
                uids.len(),
                gids.len()
            ))),
            NamespaceMode::Pod => {
                let ids = Self {
                    uids: one(uids).map_err(|why| invalid(format!("UID mapping: {why}")))?,
                    gids: one(gids).map_err(|why| invalid(format!("GID mapping: {why}")))?,
                };
                own_namespaces(options).map_err(invalid)?;
                Ok(Some(ids))
            }
            mode => Err(invalid(format!(
                "unsupported user namespace mode: {:?}",
                mode.as_str_name()
            ))),
        }
    }

    /// Whether a mount that CRI describes has these, if it has any.
    pub fn are_those_of(ids: Option<&Self>, mount: &v1::Mount) -> bool {
        if mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty() {
            return true;
        }
        ids.is_some_and(|ids| {
            one(&mount.uid_mappings) == Ok(ids.uids) && one(&mount.gid_mappings) == Ok(ids.gids)
        })
    }
}

/// The only mapping that there may be.
fn one(mappings: &[v1::IdMapping]) -> Result<IdMapping, String> {
    let [mapping] = mappings else {
        return Err(format!(
            "only one mapping supported, got {} mappings",
            mappings.len()
        ));
    };
    if mapping.container_id != 0 {
        return Err("container id 0 must be mapped".to_owned());
    }
    let end = mapping.host_id.checked_add(mapping.length);
    if mapping.length == 0 || end.is_none() {
        return Err(format!(
            "{} ids from {} on are no range",
            mapping.length, mapping.host_id
        ));
    }
    if mapping.host_id == 0 {
        return Err("the host's root must not be mapped".to_owned());
    }
    Ok(IdMapping {
        container_id: mapping.container_id,
        host_id: mapping.host_id,
        length: mapping.length,
    })
}

/// The kernel lets such users mount `/proc` and `/sys` only of namespaces that belong to them.
fn own_namespaces(options: &v1::NamespaceOption) -> Result<(), String> {
    let host = [
        ("network", options.network()),
        ("pid", options.pid()),
        ("ipc", options.ipc()),
    ];
    match host.iter().find(|(_, mode)| *mode == NamespaceMode::Node) {
        Some((name, _)) => Err(format!("it cannot be had with the host's {name} namespace")),
        None => Ok(()),
    }
}

/// The users of a sandbox that is there.
#[derive(Debug, Clone)]
pub struct Users {
    /// Where their namespace is.
    pub path: PathBuf,
    pub ids: Ids,
}

impl Users {
    /// What a user and a group are on the host; `None` where one of them is nothing.
    pub fn on_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((self.ids.uids.host(uid)?, self.ids.gids.host(gid)?))
    }

    /// What their root is on the host.
    pub fn root(&self) -> (u32, u32) {
        (self.ids.uids.host_id, self.ids.gids.host_id)
    }

    /// As a shim is told of them.
    pub fn namespace(&self) -> UserNamespace {
        UserNamespace {
            path: self.path.clone(),
            uids: self.ids.uids,
            gids: self.ids.gids,
        }
    }
}

/// Makes a path theirs, if they are not the host's.
pub fn give(path: &Path, users: Option<&Users>) -> std::io::Result<()> {
    match users.map(Users::root) {
        Some((uid, gid)) => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container_id: u32, host_id: u32, length: u32) -> v1::IdMapping {
        v1::IdMapping {
            container_id,
            host_id,
            length,
        }
    }

    fn asked(mode: NamespaceMode, mappings: &[v1::IdMapping]) -> v1::NamespaceOption {
        v1::NamespaceOption {
            userns_options: Some(v1::UserNamespace {
                mode: mode.into(),
                uids: mappings.to_vec(),
                gids: mappings.to_vec(),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn one_mapping_with_a_root_that_is_not_the_hosts() {
        use NamespaceMode::{Container, Node, Pod, Target};
        let good = mapping(0, 65_536, 65_536);
        let cases: [(NamespaceMode, &[v1::IdMapping], &str); 9] = [
            (Pod, &[good], ""),
            (Node, &[], ""),
            (
                Node,
                &[good],
                "can't use user namespace mode \"NODE\" with mappings",
            ),
            (Pod, &[], "only one mapping supported, got 0 mappings"),
            (
                Pod,
                &[good, good],
                "only one mapping supported, got 2 mappings",
            ),
            (
                Pod,
                &[mapping(1, 65_536, 65_536)],
                "container id 0 must be mapped",
            ),
            (
                Pod,
                &[mapping(0, 0, 65_536)],
                "the host's root must not be mapped",
            ),
            (
                Container,
                &[good],
                "unsupported user namespace mode: \"CONTAINER\"",
            ),
            (
                Target,
                &[good],
                "unsupported user namespace mode: \"TARGET\"",
            ),
        ];
        for (mode, mappings, wanted) in cases {
            let error = Ids::of(&asked(mode, mappings)).map_err(|error| error.to_string());
            let error = error.err().unwrap_or_default();
            assert_eq!(error.is_empty(), wanted.is_empty(), "{error}");
            assert!(error.contains(wanted), "{error}");
        }
        for (host_id, length) in [(65_536, 0), (u32::MAX, 2)] {
            assert!(Ids::of(&asked(Pod, &[mapping(0, host_id, length)])).is_err());
        }
        assert_eq!(Ids::of(&v1::NamespaceOption::default()).unwrap(), None);
    }

    #[test]
    fn namespaces_of_the_host_belong_to_nobody_else() {
        let own = asked(NamespaceMode::Pod, &[mapping(0, 65_536, 65_536)]);
        let host = i32::from(NamespaceMode::Node);
        for options in [
            v1::NamespaceOption {
                network: host,
                ..own.clone()
            },
            v1::NamespaceOption {
                pid: host,
                ..own.clone()
            },
            v1::NamespaceOption {
                ipc: host,
                ..own.clone()
            },
        ] {
            let error = Ids::of(&options).unwrap_err().to_string();
            assert!(error.contains("cannot be had with the host's"), "{error}");
        }
    }

    #[test]
    fn mounts_have_the_mapping_of_their_pod_or_none() {
        let good = mapping(0, 65_536, 65_536);
        let ids = Ids::of(&asked(NamespaceMode::Pod, &[good])).unwrap();
        let mount = |mappings: &[v1::IdMapping]| v1::Mount {
            uid_mappings: mappings.to_vec(),
            gid_mappings: mappings.to_vec(),
            ..Default::default()
        };
        let other = mapping(0, 131_072, 65_536);
        for (ids, mount, wanted) in [
            (ids.as_ref(), mount(&[]), true),
            (ids.as_ref(), mount(&[good]), true),
            (ids.as_ref(), mount(&[other]), false),
            (None, mount(&[]), true),
            (None, mount(&[good]), false),
        ] {
            assert_eq!(Ids::are_those_of(ids, &mount), wanted);
        }
    }
}
