//! Users of pods that are not the node's (`hostUsers: false`): a range of the host's ids each, which no other pod of the machine has,
//! and which a pod keeps for as long as it has anything here. Upstream's userns manager, and its file in the pod's directory; beside
//! it, kubelets that share a machine share its ids ([`claim`]).
//!
//! Ids on disk are those inside the pod, since the runtime mounts its volumes with mapped owners: nothing that writes volumes has to
//! know of the range.

pub(crate) mod claim;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::{self, NamespaceMode};
use knarr_host::{Directory, sync_directory, write_durably};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::context;

/// Ids are given out in multiples of this.
pub(crate) const UNIT: u32 = 65_536;
/// In the kubelet's directory.
const PODS: &str = "pods";
/// In the pod's directory.
const FILE: &str = "userns";
const MAX_FILE_BYTES: usize = 4 << 10;
/// Whose subordinate ids pods get, where the host has such a user.
const USER: &str = "kubelet";
/// Tells subordinate ids.
const GETSUBIDS: &str = "getsubids";
const GETSUBIDS_TIMEOUT: Duration = Duration::from_secs(10);

/// The host's ids that pods may have.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Range {
    first: u32,
    length: u32,
}

impl Range {
    /// All but those below the first that a pod can have.
    fn default_for(ids_per_pod: u32) -> Self {
        Self {
            first: ids_per_pod,
            length: 0_u32.wrapping_sub(ids_per_pod),
        }
    }

    /// The subordinate ids of the user `kubelet`, or the default where there is no such user or nothing that tells them.
    ///
    /// # Errors
    /// The user is there, but nobody says which ids it has, or they are not one range for users and groups alike.
    pub(crate) async fn detect(ids_per_pod: u32) -> Result<Self, String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let has_user = passwd
            .lines()
            .any(|line| line.split(':').next() == Some(USER));
        if !has_user {
            return Ok(Self::default_for(ids_per_pod));
        }
        let Some(users) = getsubids(&[USER]).await? else {
            return Ok(Self::default_for(ids_per_pod));
        };
        let groups = getsubids(&["-g", USER]).await?;
        if groups.as_ref() != Some(&users) {
            return Err(format!("mismatched subuids and subgids for user {USER:?}"));
        }
        Self::parse(&users)
    }

    /// What `getsubids` prints of one range: `0: kubelet 65536 2147483648`.
    fn parse(output: &str) -> Result<Self, String> {
        let line = output.trim_matches('\n');
        if line.contains('\n') {
            return Err(format!(
                "error parsing line {output:?}: it must contain only one line"
            ));
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, first, length] = fields[..] else {
            return Err(format!("invalid line {output:?}"));
        };
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|error| format!("error parsing line {line:?}: {error}"))
        };
        Ok(Self {
            first: number(first)?,
            length: number(length)?,
        })
    }

    /// The part of it that is this kubelet's, among those of the machine. Blocks.
    ///
    /// # Errors
    /// There is none left, or it cannot be found out.
    fn claim(
        self,
        registry: &Path,
        root: &Path,
        ids_per_pod: u32,
        max_pods: usize,
    ) -> Result<claim::Claimed, String> {
        let owner =
            fs::canonicalize(root).map_err(|error| format!("{}: {error}", root.display()))?;
        claim::claim(
            registry,
            claim::Wish {
                owner: &owner,
                all: self,
                ids_per_pod,
                pods: u32::try_from(max_pods).unwrap_or(u32::MAX),
            },
        )
    }

    /// Upstream's rules, and its words.
    fn check(self, ids_per_pod: u32, max_pods: usize) -> Result<(), String> {
        let Self { first, length } = self;
        if !first.is_multiple_of(ids_per_pod) {
            return Err(format!(
                "kubelet user assigned ID {first} is not a multiple of {ids_per_pod}"
            ));
        }
        if first < ids_per_pod {
            return Err(format!(
                "kubelet user assigned ID {first} must be greater or equal to {ids_per_pod}"
            ));
        }
        if !length.is_multiple_of(ids_per_pod) {
            return Err(format!(
                "kubelet user assigned IDs length {length} is not a multiple of {ids_per_pod}"
            ));
        }
        if usize::try_from(length / ids_per_pod).unwrap_or(usize::MAX) < max_pods {
            return Err(format!(
                "kubelet user assigned IDs are not enough to support {max_pods} pods"
            ));
        }
        Ok(())
    }
}

/// What it prints; `None` where there is no such program.
async fn getsubids(arguments: &[&str]) -> Result<Option<String>, String> {
    let mut command = tokio::process::Command::new(GETSUBIDS);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let failed = |why: &str| format!("error retrieving additional ids for user {USER:?}: {why}");
    match tokio::time::timeout(GETSUBIDS_TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Ok(Ok(output)) => Err(failed(&output.status.to_string())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("it did not end in time")),
    }
}

/// Upstream's file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

#[derive(Debug, Default)]
struct State {
    /// First ids on the host by the pods' uids.
    of_pods: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
    /// Where the next range is looked for: one that was given back is given out again as late as can be.
    next: u32,
}

/// Who has which ids.
#[derive(Debug)]
pub(crate) struct Users {
    pods_dir: PathBuf,
    /// What pods get ids from.
    range: Range,
    /// What they may have ids from that were given before: that of all kubelets of the machine.
    all: Range,
    ids_per_pod: u32,
    state: Mutex<State>,
    /// Says that this kubelet runs; `None` of one that claims nothing.
    _claim: Option<fs::File>,
}

impl Users {
    /// Claims ids for the pods of a kubelet, whose own directory is `root`, and finds out what they have from before. Blocks.
    ///
    /// # Errors
    /// The range does not do for so many pods, none of it is left, or a pod has ids that are not of it.
    pub(crate) fn load(
        root: &Path,
        registry: &Path,
        all: Range,
        ids_per_pod: u32,
        max_pods: usize,
    ) -> Result<Self, String> {
        all.check(ids_per_pod, max_pods)?;
        let claimed = all.claim(registry, root, ids_per_pod, max_pods)?;
        let users = Self {
            pods_dir: root.join(PODS),
            range: claimed.range,
            all,
            ids_per_pod,
            state: Mutex::default(),
            _claim: Some(claimed.file),
        };
        let entries = match fs::read_dir(&users.pods_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(users),
            entries => entries.map_err(|error| format!("read pods from disk: {error}"))?,
        };
        for entry in entries.flatten() {
            let Ok(uid) = entry.file_name().into_string() else {
                continue;
            };
            let known = users.read(&uid).and_then(|first| match first {
                Some(first) if claimed.moved && !users.is_own(first) => users.forget(&uid),
                Some(first) => users.take(&uid, first),
                None => Ok(()),
            });
            known.map_err(|why| {
                let file = users.pods_dir.join(&uid).join(FILE);
                format!(
                    "record pod mappings for existing pod {uid:?}: {why} ({})",
                    file.display()
                )
            })?;
        }
        Ok(users)
    }

    /// With all ids that there are, and no pod.
    #[cfg(test)]
    pub(crate) fn unrestricted(pods_dir: PathBuf) -> Self {
        Self {
            pods_dir,
            range: Range::default_for(UNIT),
            all: Range::default_for(UNIT),
            ids_per_pod: UNIT,
            state: Mutex::default(),
            _claim: None,
        }
    }

    /// The users of a pod as the runtime is told of them. A pod that has none of its own has the node's. May wait for the disk.
    pub(crate) fn of(&self, pod: &Pod) -> Result<v1::UserNamespace, String> {
        let asked = pod.spec.as_ref().and_then(|spec| spec.host_users);
        if asked.unwrap_or(true) {
            return Ok(v1::UserNamespace {
                mode: NamespaceMode::Node.into(),
                ..Default::default()
            });
        }
        let uid = context::uid(pod);
        let known = self.state.lock().of_pods.get(uid).copied();
        let first = match known {
            Some(first) => first,
            None => self
                .give(uid)
                .map_err(|error| format!("create user namespace: {error}"))?,
        };
        let mapping = v1::IdMapping {
            host_id: first,
            container_id: 0,
            length: self.ids_per_pod,
        };
        Ok(v1::UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![mapping],
            gids: vec![mapping],
        })
    }

    /// Gives a pod that has none ids of its own, which are on disk before anybody hears of them.
    fn give(&self, uid: &str) -> Result<u32, String> {
        let first = self.free(uid)?;
        let written = self.write(uid, first);
        written.map_err(|error| {
            self.release(uid);
            error.to_string()
        })?;
        Ok(first)
    }

    fn free(&self, uid: &str) -> Result<u32, String> {
        let mut state = self.state.lock();
        // Another caller was first.
        if let Some(first) = state.of_pods.get(uid) {
            return Ok(*first);
        }
        let count = self.range.length / self.ids_per_pod;
        let tries =
            (0..count).map(|step| (u64::from(state.next) + u64::from(step)) % u64::from(count));
        let mut firsts = tries.filter_map(|index| {
            let index = u32::try_from(index).ok()?;
            let offset = index.checked_mul(self.ids_per_pod)?;
            Some((index, self.range.first.checked_add(offset)?))
        });
        let found = firsts.find(|(_, first)| !state.taken.contains(first));
        let (index, first) =
            found.ok_or("could not find an empty slot to allocate a user namespace")?;
        state.next = index + 1;
        state.taken.insert(first);
        state.of_pods.insert(uid.to_owned(), first);
        Ok(first)
    }

    fn is_own(&self, first: u32) -> bool {
        self.range.holds(&self.of_pod(first))
    }

    fn of_pod(&self, first: u32) -> Range {
        Range {
            first,
            length: self.ids_per_pod,
        }
    }

    /// The pod is to have others: what had these has ended with the last boot.
    fn forget(&self, uid: &str) -> Result<(), String> {
        let file = self.pods_dir.join(uid).join(FILE);
        fs::remove_file(&file).map_err(|error| error.to_string())
    }

    fn take(&self, uid: &str, first: u32) -> Result<(), String> {
        if !self.all.holds(&self.of_pod(first)) {
            return Err(format!("id {first} is out of range"));
        }
        if !first.is_multiple_of(self.ids_per_pod) {
            return Err(format!("wrong user namespace offset specified {first}"));
        }
        let mut state = self.state.lock();
        if !state.taken.insert(first) {
            return Err(format!("range picked for pod {uid:?} already taken"));
        }
        state.of_pods.insert(uid.to_owned(), first);
        // Those behind are given first: what was given back last may still be in use somewhere.
        let offset = first.checked_sub(self.range.first);
        if let Some(offset) = offset.filter(|_| self.is_own(first)) {
            let index = offset / self.ids_per_pod;
            state.next = state.next.max(index.saturating_add(1));
        }
        Ok(())
    }

    /// For when nothing of the pod is left here.
    pub(crate) fn release(&self, uid: &str) {
        let mut state = self.state.lock();
        if let Some(first) = state.of_pods.remove(uid) {
            state.taken.remove(&first);
        }
    }

    fn write(&self, uid: &str, first: u32) -> io::Result<()> {
        let directory = self.pods_dir.join(uid);
        fs::create_dir_all(&directory)?;
        let mappings = vec![Mapping {
            host_id: first,
            container_id: 0,
            length: self.ids_per_pod,
        }];
        let record = Record {
            uid_mappings: mappings.clone(),
            gid_mappings: mappings,
        };
        write_durably(&directory.join(FILE), &serde_json::to_vec(&record)?)?;
        sync_directory(&self.pods_dir)
    }

    /// The first id that a pod has on the host by its file.
    fn read(&self, uid: &str) -> Result<Option<u32>, String> {
        let directory: &Path = &self.pods_dir.join(uid);
        let opened = Directory::open(directory);
        let bytes = match opened.and_then(|pod| pod.read_head(Path::new(FILE), MAX_FILE_BYTES)) {
            Ok(bytes) if bytes.is_empty() => return Ok(None),
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| format!("invalid user namespace mappings file: {error}"))?;
        let [own] = record.uid_mappings[..] else {
            return Err(
                "invalid user namespace configuration: no more than one mapping allowed."
                    .to_owned(),
            );
        };
        if record.gid_mappings != [own] {
            return Err(
                "invalid user namespace configuration: GID and UID mapping should be identical"
                    .to_owned(),
            );
        }
        if own.container_id != 0 {
            return Err("invalid user namespace configuration: UID 0 must be mapped".to_owned());
        }
        if own.length != self.ids_per_pod {
            return Err(format!("wrong user namespace length {}", own.length));
        }
        Ok(Some(own.host_id))
    }
}

/// Puts users into what the runtime is told of namespaces.
pub(crate) fn join(options: &mut Option<v1::NamespaceOption>, users: &v1::UserNamespace) {
    options.get_or_insert_default().userns_options = Some(users.clone());
}

/// Has the owners of what is mounted mapped to a pod's own users, if it has any.
pub(crate) fn map_owners(mounts: &mut [v1::Mount], users: &v1::UserNamespace) {
    for mount in mounts {
        mount.uid_mappings.clone_from(&users.uids);
        mount.gid_mappings.clone_from(&users.gids);
    }
}

#[cfg(test)]
mod tests;
