//! Sysctls of pods: which are namespaced, and which a pod may set. Names, kernel versions and wording are upstream's
//! (`k8s.io/component-helpers/node/util/sysctl`, `pkg/kubelet/sysctl`).

use std::{collections::BTreeMap, path::PathBuf};

/// Longest name or pattern, bytes.
const MAX_NAME_BYTES: usize = 253;

/// What a sysctl belongs to; one that belongs to none is the whole host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    Ipc,
    Net,
    Uts,
    User,
}

impl Namespace {
    /// As upstream's messages call it.
    fn title(self) -> &'static str {
        match self {
            Self::Ipc => "IPC",
            Self::Net => "Net",
            Self::Uts => "UTS",
            Self::User => "User",
        }
    }
}

const NAMES: [(&str, Namespace); 11] = [
    ("kernel.domainname", Namespace::Uts),
    ("kernel.sem", Namespace::Ipc),
    ("kernel.shmall", Namespace::Ipc),
    ("kernel.shmmax", Namespace::Ipc),
    ("kernel.shmmni", Namespace::Ipc),
    ("kernel.shm_rmid_forced", Namespace::Ipc),
    // What is left of `kernel.shm*` and `kernel.msg*`.
    ("kernel.shm", Namespace::Ipc),
    ("kernel.msgmax", Namespace::Ipc),
    ("kernel.msgmnb", Namespace::Ipc),
    ("kernel.msgmni", Namespace::Ipc),
    ("kernel.msg", Namespace::Ipc),
];

const PREFIXES: [(&str, Namespace); 3] = [
    ("net.", Namespace::Net),
    ("fs.mqueue.", Namespace::Ipc),
    ("user.", Namespace::User),
];

/// Namespaced, and without effect on other pods; with the kernel that namespaced them.
const SAFE: [(&str, (u32, u32)); 14] = [
    ("kernel.shm_rmid_forced", (0, 0)),
    ("net.ipv4.ip_local_port_range", (0, 0)),
    ("net.ipv4.tcp_syncookies", (0, 0)),
    ("net.ipv4.ping_group_range", (0, 0)),
    ("net.ipv4.ip_unprivileged_port_start", (0, 0)),
    ("net.ipv4.ip_local_reserved_ports", (3, 16)),
    ("net.ipv4.tcp_keepalive_time", (4, 5)),
    ("net.ipv4.tcp_fin_timeout", (4, 6)),
    ("net.ipv4.tcp_keepalive_intvl", (4, 5)),
    ("net.ipv4.tcp_keepalive_probes", (4, 5)),
    ("net.ipv4.tcp_rmem", (4, 15)),
    ("net.ipv4.tcp_wmem", (4, 15)),
    ("net.ipv4.tcp_slow_start_after_idle", (4, 15)),
    ("net.ipv4.tcp_notsent_lowat", (4, 6)),
];

/// With dots between the parts: `net/ipv4/conf/eno2.100/rp_filter` is `net.ipv4.conf.eno2/100.rp_filter`.
#[must_use]
pub fn normalized(name: &str) -> String {
    if name.find(['.', '/']).map(|at| &name[at..=at]) != Some("/") {
        return name.to_owned();
    }
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// The namespace of a sysctl or of what a pattern begins with; `None` for one of the host's.
#[must_use]
pub fn namespace(name: &str) -> Option<Namespace> {
    let name = normalized(name);
    let named = NAMES.iter().find(|(known, _)| *known == name);
    let prefixed = || PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    named.or_else(prefixed).map(|(_, namespace)| *namespace)
}

/// Its file; `None` when the name leads elsewhere.
#[must_use]
pub fn file(name: &str) -> Option<PathBuf> {
    let name = normalized(name);
    let mut path = PathBuf::from("/proc/sys");
    for part in name.split('.') {
        let part = part.replace('/', ".");
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            return None;
        }
        path.push(part);
    }
    Some(path)
}

/// Namespaces that a pod shares with its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    pub net: bool,
    pub ipc: bool,
    pub uts: bool,
    pub user: bool,
}

impl Shared {
    fn has(self, namespace: Namespace) -> bool {
        match namespace {
            Namespace::Ipc => self.ipc,
            Namespace::Net => self.net,
            Namespace::Uts => self.uts,
            Namespace::User => self.user,
        }
    }
}

/// Whether setting it stays within the pod; the error says why not.
///
/// # Errors
/// For a sysctl of the host's, or of a namespace that the pod shares with it.
pub fn check_isolated(name: &str, shared: Shared) -> Result<(), String> {
    match namespace(name) {
        None => Err(format!("{name:?} is not known to be namespaced")),
        Some(namespace) if shared.has(namespace) => Err(format!(
            "{name:?} not allowed with host {} enabled",
            namespace.title()
        )),
        Some(_) => Ok(()),
    }
}

/// What pods of a node may set.
#[derive(Clone, Debug, Default)]
pub struct Allowlist {
    names: BTreeMap<String, Namespace>,
    prefixes: BTreeMap<String, Namespace>,
}

impl Allowlist {
    /// The safe ones of a kernel, and further ones by name or by pattern (`net.core.*`).
    ///
    /// # Errors
    /// For a pattern that is none, or is not known to be namespaced.
    pub fn new(kernel: (u32, u32), unsafe_patterns: &[String]) -> Result<Self, String> {
        let safe = SAFE
            .iter()
            .filter(|(_, since)| kernel >= *since)
            .map(|(name, _)| *name);
        let mut list = Self::default();
        for pattern in safe.chain(unsafe_patterns.iter().map(String::as_str)) {
            list.add(pattern)?;
        }
        Ok(list)
    }

    fn add(&mut self, pattern: &str) -> Result<(), String> {
        if !is_pattern(pattern) {
            return Err(format!(
                "sysctl {pattern:?} must have at most {MAX_NAME_BYTES} characters and match regex ([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]"
            ));
        }
        let pattern = normalized(pattern);
        let (name, whole) = match pattern.split_once('*') {
            Some((prefix, _)) => (prefix, false),
            None => (pattern.as_str(), true),
        };
        let namespace = namespace(name)
            .ok_or_else(|| format!("the sysctls {name:?} are not known to be namespaced"))?;
        let into = if whole {
            &mut self.names
        } else {
            &mut self.prefixes
        };
        into.insert(name.to_owned(), namespace);
        Ok(())
    }

    /// Whether a pod may set it; the error is the end of upstream's message.
    ///
    /// # Errors
    /// For one that is not in the list, or is of a namespace that the pod shares with its host.
    pub fn check(&self, name: &str, shared: Shared) -> Result<(), String> {
        let name = normalized(name);
        let listed = self.names.get(&name).or_else(|| {
            let mut prefixes = self.prefixes.iter();
            prefixes
                .find(|(prefix, _)| name.starts_with(*prefix))
                .map(|(_, namespace)| namespace)
        });
        match listed {
            None => Err(format!("{name:?} not allowlisted")),
            Some(namespace) if shared.has(*namespace) => Err(format!(
                "{name:?} not allowed with host {} enabled",
                namespace.title()
            )),
            // A prefix may reach further than what it was found to be namespaced by.
            Some(_) => check_isolated(&name, shared),
        }
    }
}

/// Major and minor version of a kernel's release (`6.18.44-fc`).
#[must_use]
pub fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .trim()
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn is_pattern(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let segment = |text: &str, last: fn(u8) -> bool| {
        let bytes = text.as_bytes();
        match (bytes.first(), bytes.split_last()) {
            (Some(_), Some((end, []))) => last(*end),
            (Some(first), Some((end, body))) => {
                edge(*first) && body.iter().all(|byte| inner(*byte)) && last(*end)
            }
            _ => false,
        }
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let open = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'*';
    let (before, last) = match text.rsplit_once(['.', '/']) {
        Some((before, last)) => (Some(before), last),
        None => (None, text),
    };
    text.len() <= MAX_NAME_BYTES
        && before.is_none_or(|before| before.split(['.', '/']).all(|part| segment(part, plain)))
        && segment(last, open)
}

#[cfg(test)]
mod tests;
