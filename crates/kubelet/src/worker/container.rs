//! One container as the runtime is told of it.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use knarr_cri::v1;
use knarr_host::Directory;

use super::devices;
use crate::{
    config::Config,
    context::{self, Context},
    disk, env, ephemeral, events, hosts, image, labels, objects, security, termination, users,
    volume::{self, Mounted},
};

/// In the pod's directory.
const HOSTS_FILE: &str = "etc-hosts";
/// Largest file that variables are taken from, bytes.
const ENV_FILE_BYTES: usize = 1 << 20;

/// The container cannot be described; reason CreateContainerConfigError with this message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(pub String);

impl Error {
    fn new(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// Everything about the pod that its containers share.
pub(crate) struct Pieces<'a> {
    pub ctx: &'a Context,
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    /// Its id.
    pub sandbox: &'a str,
    pub volumes: &'a Mounted,
    /// Of the image volumes, by their names.
    pub images: &'a HashMap<&'a str, v1::ImageSpec>,
}

/// Describes instance `attempt` of `container`.
pub(crate) async fn config(
    pieces: &Pieces<'_>,
    container: &Container,
    image: &image::Ready,
    attempt: u32,
) -> Result<v1::ContainerConfig, Error> {
    let Pieces { ctx, pod, .. } = pieces;
    let environment = environment(pieces, container).await?;
    let values: HashMap<&str, &str> = environment
        .variables
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        let look = |name: &str| values.get(name).copied();
        list.iter()
            .flatten()
            .map(|text| env::expand::expand(text, look))
            .collect()
    };
    let directory = ctx.config.seccomp_dir();
    let profiles = security::Profiles {
        directory: &directory,
        default: ctx.config.configuration.settings.seccomp_default,
    };
    let mut security = security::container(pod, container, profiles).map_err(Error::new)?;
    security::apply_user(pod, container, image, &mut security).map_err(Error::new)?;
    if let Some(target) = ephemeral::find(pod, &container.name)
        .and_then(|ephemeral| ephemeral.target_container_name.as_deref())
        .filter(|target| !target.is_empty())
    {
        let view = ctx.observed.view(context::uid(pod));
        let found = view.newest(target);
        let found =
            found.ok_or_else(|| Error(format!("unable to find target container {target}")))?;
        security::share_processes(&mut security, &found.id);
    }
    let own_users = disk::waiting(|| ctx.users.of(pod)).map_err(Error)?;
    users::join(&mut security.namespace_options, &own_users);
    let mounts = mounts(pieces, container, &values).await?;
    let devices = volume_devices(container, pieces.volumes)?;
    // Log files are told relative to the sandbox's log directory.
    let log_path = format!("{}/{attempt}.log", container.name);
    let log_dir = ctx
        .config
        .pod_logs(
            context::namespace(pod),
            context::name(pod),
            context::uid(pod),
        )
        .join(&container.name);
    off_thread(move || fs::create_dir_all(log_dir)).await?;
    let mut config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt,
        }),
        image: Some(v1::ImageSpec {
            image: image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: environment
            .variables
            .iter()
            .map(|(key, value)| v1::KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        mounts,
        devices,
        labels: labels::container(pod, &container.name, &ctx.config.instance),
        annotations: labels::annotations(pod, container, attempt, pieces.sandbox),
        log_path,
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        stop_signal: stop_signal(container).into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(ctx.resources(pod, container)),
            security_context: Some(security),
        }),
        ..Default::default()
    };
    devices::add(ctx, pod, container, &mut config)
        .await
        .map_err(Error)?;
    users::map_owners(&mut config.mounts, &own_users);
    Ok(config)
}

/// What ends the container, if it says so; otherwise its image or the runtime does.
fn stop_signal(container: &Container) -> v1::Signal {
    let lifecycle = container.lifecycle.as_ref();
    let named = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.as_ref());
    let known = named.and_then(|name| v1::Signal::from_str_name(&format!("SIGNAL_{name}")));
    known.unwrap_or(v1::Signal::RuntimeDefault)
}

async fn environment(
    pieces: &Pieces<'_>,
    container: &Container,
) -> Result<env::Environment, Error> {
    let Pieces {
        ctx, pod, pod_ips, ..
    } = pieces;
    let namespace = context::namespace(pod);
    let mut source = env::Source {
        services: ctx.services.list(),
        facts: ctx.facts(pod, pod_ips.to_vec()),
        ..Default::default()
    };
    for (kind, name) in objects::container_references(container) {
        match kind {
            objects::Kind::ConfigMap => {
                let found = ctx
                    .objects
                    .config_map(namespace, &name)
                    .await
                    .map_err(Error::new)?;
                source
                    .config_maps
                    .extend(found.map(|object| (name, object)));
            }
            objects::Kind::Secret => {
                let found = ctx
                    .objects
                    .secret(namespace, &name)
                    .await
                    .map_err(Error::new)?;
                source.secrets.extend(found.map(|object| (name, object)));
            }
            // No variable comes from them.
            objects::Kind::TrustBundles | objects::Kind::CertificateRequests => {}
        }
    }
    source.files = environment_files(container, pieces.volumes).await;
    let environment = env::make(pod, container, &source).map_err(Error::new)?;
    for skipped in &environment.skipped {
        let note = format!(
            "Keys [{}] from the EnvFrom {} {namespace}/{} were skipped since they are considered invalid environment variable names.",
            skipped.keys.join(", "),
            skipped.kind,
            skipped.name,
        );
        ctx.events.pod(
            pod,
            events::WARNING,
            "InvalidEnvironmentVariableNames",
            note,
        );
    }
    Ok(environment)
}

/// The files that variables are in. Containers wrote them: links stay in their volume, and what is no regular file, or has more than
/// its limit, is as good as missing.
async fn environment_files(
    container: &Container,
    volumes: &Mounted,
) -> HashMap<(String, String), Vec<u8>> {
    let references = container.env.iter().flatten().filter_map(|variable| {
        let file = variable.value_from.as_ref()?.file_key_ref.as_ref()?;
        let volume = volumes.paths.get(&file.volume_name)?.clone();
        Some((file.volume_name.clone(), file.path.clone(), volume))
    });
    let references: Vec<_> = references.collect();
    if references.is_empty() {
        return HashMap::new();
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut files = HashMap::new();
        for (name, path, volume) in references {
            let opened = Directory::open(&volume);
            let bytes = opened
                .and_then(|volume| volume.read_head_in_root(Path::new(&path), ENV_FILE_BYTES + 1));
            match bytes {
                Ok(bytes) if bytes.len() <= ENV_FILE_BYTES => {
                    files.insert((name, path), bytes);
                }
                Ok(_) => tracing::warn!(volume = name, path, "a file of variables is too large"),
                Err(error) => tracing::debug!(%error, volume = name, path, "no file of variables"),
            }
        }
        files
    });
    read.await.unwrap_or_default()
}

async fn mounts(
    pieces: &Pieces<'_>,
    container: &Container,
    values: &HashMap<&str, &str>,
) -> Result<Vec<v1::Mount>, Error> {
    let Pieces {
        ctx,
        pod,
        pod_ips,
        volumes,
        images,
        ..
    } = pieces;
    let mut list = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let sub = sub_path(mount, values)?;
        let recursive = recursive_read_only(mount, ctx.features.recursive_read_only_mounts)?;
        if let Some(image) = images.get(mount.name.as_str()) {
            list.push(v1::Mount {
                recursive_read_only: recursive,
                image: Some(image.clone()),
                image_sub_path: sub,
                ..one_mount(mount, PathBuf::new(), true)
            });
            continue;
        }
        let base = volumes.paths.get(&mount.name);
        let base = base.filter(|_| !volumes.devices.contains(&mount.name));
        let base = base.ok_or_else(|| Error(format!("volume {:?} is not mounted", mount.name)))?;
        let host_path = if sub.is_empty() {
            base.clone()
        } else {
            let pod_dir = ctx.config.pod_dir(context::uid(pod));
            let (base, volume, name) = (base.clone(), mount.name.clone(), container.name.clone());
            let work =
                move || volume::sub_path::prepare(&pod_dir, (&volume, &base), &sub, &name, index);
            volume::within(pod, work).await.map_err(|error| {
                Error(format!(
                    "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {error}",
                    mount.name, container.name
                ))
            })?
        };
        let read_only = volumes.read_only.contains(&mount.name);
        list.push(v1::Mount {
            recursive_read_only: recursive,
            ..one_mount(mount, host_path, read_only)
        });
    }
    let custom = |path: &str| list.iter().any(|m: &v1::Mount| m.container_path == path);
    let hosts_wanted = !custom("/etc/hosts");
    if hosts_wanted {
        let (config, own, ips) = (ctx.config.clone(), Pod::clone(pod), pod_ips.to_vec());
        let path = off_thread(move || hosts_file(&config, &own, &ips)).await?;
        list.push(plain("/etc/hosts".to_owned(), path));
    }
    let message = container
        .termination_message_path
        .as_deref()
        .unwrap_or("/dev/termination-log");
    if !message.is_empty() {
        let (config, own, name) = (ctx.config.clone(), Pod::clone(pod), container.name.clone());
        let path = off_thread(move || termination::make(&config, &own, &name)).await?;
        list.push(plain(message.to_owned(), path));
    }
    Ok(list)
}

/// The container's volumes that are devices.
fn volume_devices(container: &Container, volumes: &Mounted) -> Result<Vec<v1::Device>, Error> {
    let devices = container.volume_devices.iter().flatten().map(|device| {
        let name = &device.name;
        let path = volumes
            .paths
            .get(name)
            .filter(|_| volumes.devices.contains(name));
        let path = path.ok_or_else(|| Error(format!("volume {name:?} is not mapped")))?;
        let read_only = volumes.read_only.contains(name);
        Ok(v1::Device {
            container_path: device.device_path.clone(),
            host_path: path.display().to_string(),
            permissions: if read_only { "r" } else { "mrw" }.to_owned(),
        })
    });
    devices.collect()
}

/// The path in a volume, which variables may have made anything of; empty for the volume itself. The words are upstream's.
fn sub_path(mount: &VolumeMount, values: &HashMap<&str, &str>) -> Result<String, Error> {
    let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
    if expression.is_empty() {
        return descending(mount.sub_path.clone().unwrap_or_default());
    }
    let mut missing = BTreeSet::new();
    let expanded = env::expand::expand(expression, |name| {
        let value = values.get(name).copied().filter(|value| !value.is_empty());
        if value.is_none() {
            missing.insert(name.to_owned());
        }
        value
    });
    if !missing.is_empty() {
        let names: Vec<String> = missing.into_iter().collect();
        return Err(Error(format!("missing value for {}", names.join(", "))));
    }
    descending(expanded)
}

fn descending(sub: String) -> Result<String, Error> {
    if sub.starts_with('/') {
        let why = format!("error SubPath `{sub}` must not be an absolute path");
        return Err(Error(why));
    }
    if sub.split('/').any(|part| part == "..") {
        let why = format!("unable to provision SubPath `{sub}`: must not contain '..'");
        return Err(Error(why));
    }
    Ok(sub)
}

/// Runs what touches files that containers can write.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(Error::new)?.map_err(Error::new)
}

/// Whether mounts below a read-only one are read-only as well; the words are upstream's.
pub(crate) fn recursive_read_only(mount: &VolumeMount, supported: bool) -> Result<bool, Error> {
    let name = &mount.name;
    let mode = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    if mode == "Disabled" {
        return Ok(false);
    }
    if mount.read_only != Some(true) {
        return Err(Error(format!(
            "volume {name:?} requested recursive read-only mode, but it is not read-only"
        )));
    }
    if let Some(propagation) = mount.mount_propagation.as_deref().filter(|p| *p != "None") {
        return Err(Error(format!(
            "volume {name:?} requested recursive read-only mode, but it is not compatible with propagation {propagation:?}"
        )));
    }
    match mode {
        "IfPossible" => Ok(supported),
        "Enabled" if supported => Ok(true),
        "Enabled" => Err(Error(format!(
            "volume {name:?} requested recursive read-only mode, but it is not supported by the runtime"
        ))),
        _ => Err(Error(format!("unknown recursive read-only mode {mode:?}"))),
    }
}

fn one_mount(mount: &VolumeMount, host_path: PathBuf, read_only: bool) -> v1::Mount {
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    // A relative path is one below the container's root.
    let path = &mount.mount_path;
    let path = if path.starts_with('/') {
        path.clone()
    } else {
        format!("/{path}")
    };
    v1::Mount {
        container_path: path,
        host_path: host_path.display().to_string(),
        readonly: mount.read_only.unwrap_or(false) || read_only,
        propagation: propagation as i32,
        ..Default::default()
    }
}

fn plain(container_path: String, host_path: PathBuf) -> v1::Mount {
    let host_path = host_path.display().to_string();
    v1::Mount {
        container_path,
        host_path,
        ..Default::default()
    }
}

/// Writes the pod's hosts file; it is the same for all its containers.
fn hosts_file(config: &Config, pod: &Pod, pod_ips: &[String]) -> io::Result<PathBuf> {
    let host_network = pod
        .spec
        .as_ref()
        .and_then(|s| s.host_network)
        .unwrap_or(false);
    let own = host_network
        .then(|| hosts::of_node(Path::new("/etc/hosts")))
        .transpose()?;
    let text = hosts::file(pod, pod_ips, &config.cluster_domain, own.as_deref());
    let dir = config.pod_dir(context::uid(pod));
    fs::create_dir_all(&dir)?;
    let (directory, name) = (Directory::open(&dir)?, Path::new(HOSTS_FILE));
    // Containers have the file itself mounted and may write it, so it is rewritten in place and only when it changed.
    let old = directory.read_head(name, text.len() + 1);
    if old.is_ok_and(|old| old == text.as_bytes()) {
        return Ok(dir.join(name));
    }
    directory.write_in_place(name, text.as_bytes(), 0o644)?;
    Ok(dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_are_whole_and_descend() {
        let values = HashMap::from([("A", "a"), ("EMPTY", ""), ("ROOT", "/r"), ("UP", "..")]);
        let expanded = |expression: &str| {
            let mount = VolumeMount {
                sub_path_expr: Some(expression.to_owned()),
                ..Default::default()
            };
            sub_path(&mount, &values).map_err(|error| error.to_string())
        };
        let fails = |text: &str| Err(text.to_owned());
        for (expression, wanted) in [
            ("", Ok(String::new())),
            ("$(A)/x", Ok("a/x".to_owned())),
            ("$$(NOPE)", Ok("$(NOPE)".to_owned())),
            ("$(NOPE)/x", fails("missing value for NOPE")),
            (
                "$(NOPE)/$(EMPTY)/$(NOPE)",
                fails("missing value for EMPTY, NOPE"),
            ),
            (
                "$(ROOT)",
                fails("error SubPath `/r` must not be an absolute path"),
            ),
            (
                "x/$(UP)",
                fails("unable to provision SubPath `x/..`: must not contain '..'"),
            ),
        ] {
            assert_eq!(expanded(expression), wanted, "{expression}");
        }
    }
}
