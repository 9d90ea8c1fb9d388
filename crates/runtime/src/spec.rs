//! A container's OCI configuration, from what CRI asks, the image says and the host allows.
//!
//! Written as a JSON tree: the reader is another program, and most of it is constants.

mod defaults;
mod host;
mod mounts;
mod seccomp;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use knarr_cri::v1;
use knarr_host::paths;
use serde_json::{Map, Value, json};

use mounts::MOUNT_OPTIONS;

pub use host::{HostLimits, device, limits};

use crate::cgroup;
use crate::declared::Declared;
use crate::image_volume::Sources;
use crate::images::user::User;
use crate::images::{ImageConfig, ProcessConfig};
use crate::users::Users;

/// Where a container's namespaces come from.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// `None` is the host's.
    pub network: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    pub pid: PidNamespace,
}

#[derive(Debug, Clone, Default)]
pub enum PidNamespace {
    #[default]
    Own,
    Host,
    Join(PathBuf),
}

/// Everything a specification is made from.
pub struct Input<'a> {
    pub sandbox_id: &'a str,
    pub sandbox: &'a v1::PodSandboxConfig,
    pub config: &'a v1::ContainerConfig,
    pub image: &'a ImageConfig,
    pub user: &'a User,
    pub namespaces: &'a Namespaces,
    /// Of the sandbox; `None` has the host's.
    pub users: Option<&'a Users>,
    pub rootfs: &'a Path,
    /// Directories of image volumes.
    pub volumes: &'a Sources,
    /// What the image declares as volumes.
    pub declared: &'a [Declared],
    /// Directory of the sandbox's own files (`resolv.conf`, `hostname`, `shm`).
    pub sandbox_dir: &'a Path,
    pub cgroup: &'a Path,
    pub limits: &'a HostLimits,
}

#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("no command specified")]
    NoCommand,
    #[error("{0}")]
    Unsupported(String),
    #[error("mount {path}: recursive_read_only needs {needs}")]
    RecursiveReadOnly { path: String, needs: &'static str },
    #[error("path {path:?} is mounted on {on:?} but it is not a shared mount")]
    Propagation { path: String, on: String },
    #[error("mount {path}: option {option:?} is not one of {MOUNT_OPTIONS:?}")]
    MountOption { path: String, option: String },
    #[error("seccomp profile {path}: {reason}")]
    Seccomp { path: String, reason: String },
    #[error("device {path}: {source}")]
    Device {
        path: String,
        source: std::io::Error,
    },
    #[error("failed to stat {path:?}: {source}")]
    Mount {
        path: String,
        source: std::io::Error,
    },
}

impl Input<'_> {
    fn security(&self) -> Option<&v1::LinuxContainerSecurityContext> {
        self.config.linux.as_ref()?.security_context.as_ref()
    }

    fn privileged(&self) -> bool {
        self.security().is_some_and(|security| security.privileged)
    }

    fn process_config(&self) -> ProcessConfig {
        self.image.config.clone().unwrap_or_default()
    }

    /// The directory the command starts in.
    pub fn working_directory(&self) -> String {
        [
            self.config.working_dir.clone(),
            self.process_config().working_dir,
        ]
        .into_iter()
        .find(|directory| !directory.is_empty())
        .unwrap_or_else(|| "/".to_owned())
    }
}

/// The whole `config.json`.
pub fn generate(input: &Input<'_>) -> Result<Value, SpecError> {
    let capabilities = capabilities(input);
    let readonly = input
        .security()
        .is_some_and(|security| security.readonly_rootfs);
    let mounts = mounts::generate(input)?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process(input, &capabilities)?,
        "root": { "path": input.rootfs, "readonly": readonly },
        "mounts": mounts.mounts,
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": input.sandbox_id,
        },
        "linux": linux(input, &capabilities, mounts.propagation)?,
    }))
}

fn process(input: &Input<'_>, capabilities: &[String]) -> Result<Value, SpecError> {
    let security = input.security();
    let mut process = json!({
        "terminal": input.config.tty,
        "user": { "uid": input.user.uid, "gid": input.user.gid, "additionalGids": input.user.groups },
        "args": args(input)?,
        "env": environment(input),
        "cwd": input.working_directory(),
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
    });
    // Absent rather than false: libcontainer loads the seccomp filter of a process that has the field only after the
    // capability to do so is gone.
    if security.is_some_and(|security| security.no_new_privs) {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(resources) = input
        .config
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.as_ref())
    {
        process["oomScoreAdj"] = json!(input.limits.clamp_oom_score_adj(resources.oom_score_adj));
    }
    Ok(process)
}

/// As the API documents `command` and `args`: a command replaces the image's entrypoint and its arguments.
fn args(input: &Input<'_>) -> Result<Vec<String>, SpecError> {
    let image = input.process_config();
    let (mut command, mut args) = (input.config.command.clone(), input.config.args.clone());
    if command.is_empty() {
        if args.is_empty() {
            args = image.cmd.unwrap_or_default();
        }
        command = image.entrypoint.unwrap_or_default();
    }
    command.extend(args);
    if command.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    Ok(command)
}

fn environment(input: &Input<'_>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if values.insert(key.to_owned(), value.to_owned()).is_none() {
            order.push(key.to_owned());
        }
    };
    set("PATH", defaults::PATH);
    let hostname = if input.sandbox.hostname.is_empty() {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default()
    } else {
        input.sandbox.hostname.clone()
    };
    set("HOSTNAME", &hostname);
    if input.config.tty {
        set("TERM", "xterm");
    }
    for entry in input.process_config().env.iter().flatten() {
        // Without a value it is no variable, as for containerd; without a name none that a process can have.
        if let Some((key, value)) = entry.split_once('=')
            && !key.is_empty()
        {
            set(key, value);
        }
    }
    for variable in &input.config.envs {
        set(&variable.key, &variable.value);
    }
    // As runc: an empty one is none, and whoever has no home directory has the root one. What libcontainer adds knows only the
    // users of the image.
    if values.get("HOME").is_none_or(String::is_empty) {
        let home = match input.user.home.as_str() {
            "" => "/",
            home => home,
        };
        if values.insert("HOME".to_owned(), home.to_owned()).is_none() {
            order.push("HOME".to_owned());
        }
    }
    order
        .iter()
        .map(|key| format!("{key}={}", values[key]))
        .collect()
}

/// What the container may have at most, of what this host has to give.
fn capabilities(input: &Input<'_>) -> Vec<String> {
    let all = input.limits.capabilities();
    if input.privileged() {
        return all.to_vec();
    }
    let mut wanted: Vec<String> = defaults::CAPABILITIES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let asked = input
        .security()
        .and_then(|security| security.capabilities.clone())
        .unwrap_or_default();
    let normal = |name: &String| {
        let name = name.to_ascii_uppercase();
        if name == "ALL" || name.starts_with("CAP_") {
            name
        } else {
            format!("CAP_{name}")
        }
    };
    let add: Vec<String> = asked.add_capabilities.iter().map(normal).collect();
    let drop: Vec<String> = asked.drop_capabilities.iter().map(normal).collect();
    // As containerd: "ALL" first, on either side, then the single ones, so that dropping all and adding one leaves one.
    if add.iter().any(|name| name == "ALL") {
        wanted = all.to_vec();
    }
    if drop.iter().any(|name| name == "ALL") {
        wanted.clear();
    }
    wanted.extend(add.into_iter().filter(|name| name != "ALL"));
    wanted.retain(|name| !drop.contains(name) && all.contains(name));
    wanted.sort();
    wanted.dedup();
    wanted
}

fn linux(
    input: &Input<'_>,
    capabilities: &[String],
    propagation: Option<&'static str>,
) -> Result<Value, SpecError> {
    let mut linux = Map::new();
    linux.insert("namespaces".to_owned(), namespaces(input));
    if let Some(users) = input.users {
        let (uids, gids) = mounts::mappings(users);
        linux.insert("uidMappings".to_owned(), uids);
        linux.insert("gidMappings".to_owned(), gids);
    }
    linux.insert("cgroupsPath".to_owned(), json!(input.cgroup));
    linux.insert("resources".to_owned(), resources(input)?);
    let devices = devices(input)?;
    if !devices.is_empty() {
        linux.insert("devices".to_owned(), json!(devices));
    }
    if let Some(propagation) = propagation {
        linux.insert("rootfsPropagation".to_owned(), json!(propagation));
    }
    if !input.privileged() {
        let (masked, readonly) = match input.security() {
            Some(security) => (
                security.masked_paths.clone(),
                security.readonly_paths.clone(),
            ),
            None => (paths::masked(), paths::READ_ONLY.map(str::to_owned).into()),
        };
        linux.insert("maskedPaths".to_owned(), json!(masked));
        linux.insert("readonlyPaths".to_owned(), json!(readonly));
        if let Some(profile) = seccomp::profile(input.security(), capabilities)? {
            linux.insert("seccomp".to_owned(), profile);
        }
        check_apparmor(input)?;
    }
    Ok(Value::Object(linux))
}

fn check_apparmor(input: &Input<'_>) -> Result<(), SpecError> {
    let localhost = v1::security_profile::ProfileType::Localhost;
    let profile = input
        .security()
        .and_then(|security| security.apparmor.as_ref());
    match profile {
        Some(profile) if profile.profile_type() == localhost => {
            Err(SpecError::Unsupported(format!(
                "apparmor profile {:?} cannot be applied: this runtime does not load AppArmor profiles",
                profile.localhost_ref
            )))
        }
        _ => Ok(()),
    }
}

fn namespaces(input: &Input<'_>) -> Value {
    let namespaces = input.namespaces;
    let mut list = vec![json!({ "type": "mount" })];
    let mut join = |kind: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            list.push(json!({ "type": kind, "path": path }));
        }
    };
    match input.users {
        // The others are the shim's, which its children have anyway and which those users may not open.
        Some(users) => join("user", &Some(users.path.clone())),
        None => {
            join("network", &namespaces.network);
            join("ipc", &namespaces.ipc);
            join("uts", &namespaces.uts);
        }
    }
    match &namespaces.pid {
        PidNamespace::Own => list.push(json!({ "type": "pid" })),
        PidNamespace::Host => {}
        PidNamespace::Join(path) => list.push(json!({ "type": "pid", "path": path })),
    }
    if cgroup::host().is_unified() {
        list.push(json!({ "type": "cgroup" }));
    }
    json!(list)
}

fn resources(input: &Input<'_>) -> Result<Value, SpecError> {
    let mut resources = Map::new();
    let mut rules = Vec::new();
    if input.privileged() {
        rules.push(json!({ "allow": true, "access": "rwm" }));
    } else {
        rules.push(json!({ "allow": false, "access": "rwm" }));
        for device in &input.config.devices {
            let node = host::device(&device.host_path)?;
            rules.push(json!({
                "allow": true, "type": node.kind, "major": node.major, "minor": node.minor,
                "access": device.permissions,
            }));
        }
    }
    resources.insert("devices".to_owned(), json!(rules));
    let Some(asked) = input
        .config
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.as_ref())
    else {
        return Ok(Value::Object(resources));
    };
    let mut cpu = Map::new();
    let number = |into: &mut Map<String, Value>, key: &str, value: i64| {
        if value != 0 {
            into.insert(key.to_owned(), json!(value));
        }
    };
    number(&mut cpu, "shares", asked.cpu_shares);
    number(&mut cpu, "quota", asked.cpu_quota);
    number(&mut cpu, "period", asked.cpu_period);
    for (key, value) in [("cpus", &asked.cpuset_cpus), ("mems", &asked.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.to_owned(), json!(value));
        }
    }
    let mut memory = Map::new();
    number(&mut memory, "limit", asked.memory_limit_in_bytes);
    if asked.memory_swap_limit_in_bytes != 0 && input.limits.swap_accounting() {
        number(&mut memory, "swap", asked.memory_swap_limit_in_bytes);
    }
    for (key, part) in [("cpu", cpu), ("memory", memory)] {
        if !part.is_empty() {
            resources.insert(key.to_owned(), Value::Object(part));
        }
    }
    let limits: Vec<Value> = asked
        .hugepage_limits
        .iter()
        .filter(|_| cgroup::host().gives(cgroup::HUGETLB, input.cgroup))
        .map(|limit| json!({ "pageSize": limit.page_size, "limit": limit.limit }))
        .collect();
    if !limits.is_empty() {
        resources.insert("hugepageLimits".to_owned(), json!(limits));
    }
    if !asked.unified.is_empty() && cgroup::host().is_unified() {
        resources.insert("unified".to_owned(), json!(asked.unified));
    }
    Ok(Value::Object(resources))
}

/// Devices whose nodes are made; those of users that are not the host's, who may make none, are mounted.
fn devices(input: &Input<'_>) -> Result<Vec<Value>, SpecError> {
    if input.users.is_some() {
        return Ok(Vec::new());
    }
    let entry = |path: &str, node: &host::Device| {
        json!({
            "path": path, "type": node.kind, "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    };
    let mut devices = Vec::new();
    if input.privileged() {
        devices.extend(host::devices().iter().map(|(path, node)| entry(path, node)));
    }
    for device in &input.config.devices {
        devices.push(entry(
            &device.container_path,
            &host::device(&device.host_path)?,
        ));
    }
    Ok(devices)
}

/// A sandbox's namespace options; absent ones are the defaults (pod's own network and IPC, containers' own processes).
pub fn sandbox_namespaces(sandbox: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    sandbox
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .and_then(|security| security.namespace_options.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
