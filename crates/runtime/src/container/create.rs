//! Making a container: record, snapshot, OCI configuration. No process yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use knarr_cri::v1::{self, ContainerEventType, NamespaceMode, SupplementalGroupsPolicy};
use knarr_host::Directory;
use tokio_util::sync::CancellationToken;

use crate::container::{Container, Phase};
use crate::image_volume::{self, ImageVolumes};
use crate::images::user::{Accounts, User};
use crate::images::{Image, ImageConfig};
use crate::records::{ContainerRecord, RECORD_FILE};
use crate::runtime::{Inner, blocking};
use crate::sandbox::Sandbox;
use crate::snapshot::Snapshot;
use crate::spec::{self, Namespaces, PidNamespace};
use crate::users::{Ids, Users};
use crate::{Error, cdi, declared, files, id, mapped, mount_points, owners};

/// What `StopContainer` sends where the image names no signal.
const DEFAULT_STOP_SIGNAL: i32 = libc::SIGTERM;

impl Inner {
    /// Makes a container; its id.
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        config: v1::ContainerConfig,
    ) -> Result<String, Error> {
        // What it mounts may be of a server that does not answer: who creates waits for a thread with the others of the namespace.
        let place = self.creating.take(namespace(sandbox)).await;
        let (record, make) = self.prepare(sandbox, config)?;
        let id = record.id.clone();
        let asked_for = CancellationToken::new();
        let _until_nobody_waits = asked_for.clone().drop_guard();
        let inner = self.clone();
        let container = blocking("create the container", move || {
            let _place = place;
            let directory = make.directory.clone();
            Ok(make.run(record).map(|record| {
                let container = Arc::new(Container::new(record, directory));
                inner.keep_if(&asked_for, &container);
                container
            }))
        });
        let container = container.await??;
        self.publish_container(&container, ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    /// What is to be made.
    fn prepare(
        &self,
        sandbox: &Arc<Sandbox>,
        mut config: v1::ContainerConfig,
    ) -> Result<(ContainerRecord, Make), Error> {
        if config.metadata.is_none() {
            return Err(Error::InvalidArgument(
                "container config must include metadata".to_owned(),
            ));
        }
        if !sandbox.status.lock().ready {
            return Err(Error::State(format!(
                "sandbox container {:?} is not running",
                sandbox.record.id
            )));
        }
        let wanted = config
            .image
            .as_ref()
            .map(|image| image.image.clone())
            .unwrap_or_default();
        let image = self.images.find(&wanted).ok_or(Error::NotFound {
            kind: "image",
            id: wanted,
        })?;
        let volumes = ImageVolumes::resolve(&self.images, &mut config.mounts)?;
        let users = self.users(sandbox)?;
        check_users(users.as_ref(), sandbox, &config)?;
        let namespaces = self.namespaces(sandbox, &config)?;
        let id = id::new();
        let record = ContainerRecord {
            sandbox: sandbox.record.id.clone(),
            image: image.id.clone(),
            created_at: files::now(),
            cgroup: sandbox.record.cgroup_parent.join(&id),
            private_pid: matches!(namespaces.pid, PidNamespace::Own),
            stop_signal: stop_signal(&config, &image.config)?,
            log_path: log_path(&sandbox.record.config, &config),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            config,
            id: id.clone(),
        };
        let make = Make {
            sandbox: sandbox.clone(),
            layers: self.images.layers(&image)?,
            image,
            volumes,
            namespaces,
            users,
            directory: self.layout.container(&id),
        };
        Ok((record, make))
    }

    /// A container that nobody waits for any more nobody will ever start or remove.
    fn keep_if(&self, asked_for: &CancellationToken, container: &Arc<Container>) {
        let record = &container.record;
        let mut containers = self.containers.lock();
        if !asked_for.is_cancelled() {
            containers.insert(record.id.clone(), container.clone());
            return;
        }
        drop(containers);
        if let Err(error) = dispose(&container.directory, &record.cgroup) {
            tracing::warn!(container = record.id, %error, "cannot remove what nobody waits for");
        }
    }

    fn namespaces(
        &self,
        sandbox: &Sandbox,
        config: &v1::ContainerConfig,
    ) -> Result<Namespaces, Error> {
        let status = sandbox.status.lock().clone();
        let sandbox_options = spec::sandbox_namespaces(&sandbox.record.config);
        let options = config
            .linux
            .as_ref()
            .and_then(|linux| linux.security_context.as_ref())
            .and_then(|security| security.namespace_options.clone())
            .unwrap_or_else(|| sandbox_options.clone());
        let of = |pid: i32, kind: &str| PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
        let pid = match options.pid() {
            NamespaceMode::Container => PidNamespace::Own,
            NamespaceMode::Node => PidNamespace::Host,
            // A sandbox that has no shared namespace cannot give one.
            NamespaceMode::Pod => match status.init_pid {
                Some(init) => PidNamespace::Join(of(init, "pid")),
                None => PidNamespace::Own,
            },
            NamespaceMode::Target => {
                let target = self.container(&options.target_id)?;
                let pid = target.status.lock().clone();
                if target.record.sandbox != sandbox.record.id || pid.phase != Phase::Running {
                    return Err(Error::State(format!(
                        "target container {:?} is not running in this sandbox",
                        options.target_id
                    )));
                }
                PidNamespace::Join(of(pid.pid, "pid"))
            }
        };
        let own_network = !sandbox.record.host_network;
        Ok(Namespaces {
            network: own_network.then(|| self.layout.netns(&sandbox.record.id)),
            ipc: (sandbox_options.ipc() != NamespaceMode::Node).then(|| of(status.shim_pid, "ipc")),
            uts: own_network.then(|| of(status.shim_pid, "uts")),
            pid,
        })
    }

    /// Removes a container, killing it if it runs; one that is not there is removed.
    pub(crate) async fn remove_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), Error> {
        self.stop_container(container, std::time::Duration::ZERO)
            .await?;
        let _operation = container.operation.lock().await;
        if let Ok(sandbox) = self.sandbox(&container.record.sandbox) {
            let request = knarr_shim::Request::Delete {
                id: container.record.id.clone(),
            };
            // It may be gone with the shim, or may never have been started.
            let _ = sandbox.shim.order(request).await;
        }
        let (directory, cgroup) = (container.directory.clone(), container.record.cgroup.clone());
        blocking("remove the container", move || dispose(&directory, &cgroup)).await?;
        let removed = self.containers.lock().remove(&container.record.id);
        if removed.is_some() {
            self.publish_container(container, ContainerEventType::ContainerDeletedEvent);
        }
        Ok(())
    }
}

/// Takes a container's remains away. Blocks; repeating it is fine.
pub(crate) fn dispose(directory: &Path, cgroup: &Path) -> std::io::Result<()> {
    crate::cgroup::host().remove(cgroup)?;
    remove_bundle(directory)
}

/// Takes a container's directory away, with what is mounted in it. Blocks; repeating it is fine.
pub(crate) fn remove_bundle(directory: &Path) -> std::io::Result<()> {
    Snapshot::of(directory).unmount()?;
    image_volume::unmount(directory)?;
    mapped::unmount(directory)?;
    files::remove(directory)
}

/// The blocking part.
struct Make {
    sandbox: Arc<Sandbox>,
    image: Image,
    layers: Vec<PathBuf>,
    volumes: ImageVolumes,
    namespaces: Namespaces,
    /// `None` has the host's.
    users: Option<Users>,
    directory: PathBuf,
}

impl Make {
    fn run(self, mut record: ContainerRecord) -> Result<ContainerRecord, Error> {
        let _span =
            tracing::debug_span!("create_container", container = &record.id[..12]).entered();
        let outcome = self.make(&mut record);
        if outcome.is_err()
            && let Err(error) = dispose(&self.directory, &record.cgroup)
        {
            tracing::warn!(container = record.id, %error, "cannot clean up after a failed create");
        }
        outcome.map(|()| record)
    }

    fn make(&self, record: &mut ContainerRecord) -> Result<(), Error> {
        let on_disk = self.directory.join(RECORD_FILE);
        files::make_dir(&self.directory).map_err(Error::io("make the bundle"))?;
        files::write_json(&on_disk, record).map_err(Error::io("write the record"))?;
        let (snapshot, users) = (Snapshot::of(&self.directory), self.users.as_ref());
        snapshot
            .mount(&self.layers, &self.image.kept, users)
            .map_err(Error::io("mount the root file system"))?;
        let rootfs = snapshot.rootfs();
        let mounts = &record.config.mounts;
        let volumes = self.volumes.mount(&self.directory, mounts, users)?;
        let declared = declared::volumes(&rootfs, &self.image.config, &record.config, users)?;
        let user = user(&record.config, &self.image.config, &rootfs)?;
        check_mapped(users, &user)?;
        let input = spec::Input {
            sandbox_id: &record.sandbox,
            sandbox: &self.sandbox.record.config,
            config: &record.config,
            image: &self.image.config,
            user: &user,
            namespaces: &self.namespaces,
            users,
            rootfs: &rootfs,
            volumes: &volumes,
            declared: &declared,
            sandbox_dir: &self.sandbox.directory,
            cgroup: &record.cgroup,
            limits: spec::limits(),
        };
        let mut oci = spec::generate(&input)?;
        inject_devices(&record.config, &mut oci)?;
        let mounts = oci["mounts"].as_array();
        mount_points::make(&rootfs, mounts.map_or(&[], Vec::as_slice), users)
            .map_err(Error::io("make the places to mount on"))?;
        working_directory(&rootfs, &input.working_directory(), users)
            .map_err(Error::io("make the working directory"))?;
        files::write_json(&self.directory.join("config.json"), &oci)
            .map_err(Error::io("write the OCI configuration"))?;
        if let Some(parent) = record.log_path.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(parent).map_err(Error::io("make the log directory"))?;
        }
        (record.uid, record.gid, record.groups) = (user.uid, user.gid, user.groups);
        files::write_json(&on_disk, record).map_err(Error::io("write the record"))
    }
}

/// Whose pod it is.
fn namespace(sandbox: &Sandbox) -> &str {
    let metadata = sandbox.record.config.metadata.as_ref();
    metadata.map_or("", |metadata| metadata.namespace.as_str())
}

/// A container has the users of its sandbox. The wording is containerd's.
fn check_users(
    users: Option<&Users>,
    sandbox: &Sandbox,
    config: &v1::ContainerConfig,
) -> Result<(), Error> {
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|security| security.namespace_options.as_ref());
    let own = options.map(Ids::of).transpose()?;
    match own {
        Some(own) if own != users.map(|users| users.ids) => Err(Error::InvalidArgument(format!(
            "user namespace config for sandbox {:?} is different from container. Sandbox userns config: {:?} - Container userns config: {own:?}",
            sandbox.record.id,
            users.map(|users| users.ids),
        ))),
        _ => Ok(()),
    }
}

/// The kernel makes nobody a user who has no id.
fn check_mapped(users: Option<&Users>, user: &User) -> Result<(), Error> {
    let Some(users) = users else { return Ok(()) };
    let mut groups = std::iter::once(&user.gid).chain(&user.groups);
    if groups.all(|group| users.on_host(user.uid, *group).is_some()) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "user {} with groups {:?} is not mapped in the pod's user namespace",
        user.uid, user.groups
    )))
}

fn working_directory(rootfs: &Path, path: &str, users: Option<&Users>) -> std::io::Result<()> {
    let (root, path) = (Directory::open(rootfs)?, Path::new(path));
    root.make_directories_in_root(path, 0o755)?;
    match users {
        Some(users) => owners::give_directory(&root, path, users),
        None => Ok(()),
    }
}

/// What the CDI devices of a container do to it.
fn inject_devices(config: &v1::ContainerConfig, oci: &mut serde_json::Value) -> Result<(), Error> {
    let names = config.cdi_devices.iter().map(|device| device.name.clone());
    let names: Vec<String> = names.collect();
    let directories = cdi::DIRECTORIES.map(PathBuf::from);
    let injected = cdi::resolve(&directories, &names);
    let injected = injected.and_then(|injection| injection.apply(oci));
    injected.map_err(|error| Error::State(format!("CDI device injection failed: {error}")))
}

/// Who the container runs as: what CRI asks, or else what the image says.
fn user(config: &v1::ContainerConfig, image: &ImageConfig, rootfs: &Path) -> Result<User, Error> {
    let security = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref());
    let from_image = image
        .config
        .as_ref()
        .map(|config| config.user.clone())
        .unwrap_or_default();
    let text = match security {
        Some(security) if security.run_as_user.is_some() => security
            .run_as_user
            .as_ref()
            .map(|user| user.value.to_string())
            .unwrap_or_default(),
        Some(security) if !security.run_as_username.is_empty() => security.run_as_username.clone(),
        _ => from_image,
    };
    let mut user = Accounts::read(rootfs)
        .resolve(&text)
        .map_err(|error| Error::InvalidArgument(error.to_string()))?;
    let Some(security) = security else {
        user.groups.insert(0, user.gid);
        return Ok(user);
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| Error::InvalidArgument(format!("invalid id {value}")))
    };
    if let Some(group) = &security.run_as_group {
        if security.run_as_user.is_none() && security.run_as_username.is_empty() {
            let text = "run_as_group is given without run_as_user and run_as_username";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        user.gid = number(group.value)?;
    }
    if security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict {
        user.groups.clear();
    }
    user.groups.insert(0, user.gid);
    for group in &security.supplemental_groups {
        user.groups.push(number(*group)?);
    }
    let mut seen = std::collections::HashSet::new();
    user.groups.retain(|group| seen.insert(*group));
    Ok(user)
}

fn log_path(sandbox: &v1::PodSandboxConfig, config: &v1::ContainerConfig) -> Option<PathBuf> {
    let usable = !sandbox.log_directory.is_empty() && !config.log_path.is_empty();
    usable.then(|| Path::new(&sandbox.log_directory).join(&config.log_path))
}

/// What CRI asks, or else what the image says, as `SIGTERM`, `TERM` or `15`.
fn stop_signal(config: &v1::ContainerConfig, image: &ImageConfig) -> Result<i32, Error> {
    if config.stop_signal() != v1::Signal::RuntimeDefault {
        let name = config.stop_signal().as_str_name();
        let name = name.trim_start_matches("SIGNAL_");
        return signal_number(name)
            .ok_or_else(|| Error::Unsupported(format!("stop signal {name} is not supported")));
    }
    let text = image
        .config
        .as_ref()
        .and_then(|config| config.stop_signal.clone())
        .unwrap_or_default();
    Ok(signal_number(&text).unwrap_or(DEFAULT_STOP_SIGNAL))
}

pub(crate) fn signal_number(text: &str) -> Option<i32> {
    use nix::sys::signal::Signal;
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return Signal::try_from(number).is_ok().then_some(number);
    }
    let name = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_user_is_refused() {
        let rootfs = tempfile::tempdir().unwrap();
        let check = |user: Option<i64>, name: &str| {
            let security = v1::LinuxContainerSecurityContext {
                run_as_user: user.map(|value| v1::Int64Value { value }),
                run_as_username: name.to_owned(),
                run_as_group: Some(v1::Int64Value { value: 7 }),
                ..Default::default()
            };
            let config = v1::ContainerConfig {
                linux: Some(v1::LinuxContainerConfig {
                    security_context: Some(security),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let user = super::user(&config, &ImageConfig::default(), rootfs.path());
            user.map(|user| (user.uid, user.gid))
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(Some(5), ""), Ok((5, 7)));
        assert_eq!(check(None, "5"), Ok((5, 7)));
        let error = check(None, "").unwrap_err();
        assert!(error.contains("run_as_group is given without"), "{error}");
    }

    #[test]
    fn signals_by_name_and_number() {
        let cases = [
            ("SIGQUIT", Some(3)),
            ("usr1", Some(10)),
            ("9", Some(9)),
            ("", None),
            ("SIGNOPE", None),
            ("99", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(signal_number(text), wanted, "{text}");
        }
    }
}
