//! The files of volumes that show API objects: configMap, secret, downwardAPI, projected.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection,
    Volume, VolumeProjection,
};

use super::{
    Error, MountedVolume, Target, VolumeType,
    atomic::{self, File, Files},
    blocking, certificate, directory, mount, nested, ownership, trust_bundle,
};
use crate::{
    context::{self, Context},
    downward,
};

const DEFAULT_MODE: i32 = 0o644;
/// Token files are for their owner, or for the group of `fsGroup`.
const TOKEN_MODE: u32 = 0o600;
const TOKEN_GROUP_MODE: u32 = 0o640;

pub(super) struct ApiObjects;

#[async_trait]
impl VolumeType for ApiObjects {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let made = async {
            let Some(payload) = make(target.ctx, target.pod, target.volume).await? else {
                return Ok(None);
            };
            let path = target.dir(payload.kind);
            let (place, fs_group) = (path.clone(), target.fs_group());
            let refresh_at = payload.refresh_at;
            let points = nested::mount_points(target.pod, &target.volume.name);
            blocking(move || {
                write(&place, &payload, fs_group)?;
                nested::make(&place, &points)
            })
            .await?;
            Ok(Some(MountedVolume {
                path,
                read_only: true,
                is_device: false,
                refresh_at,
            }))
        };
        let error = |message: String| Error::set_up(&target.volume.name, message);
        made.await.map_err(error).transpose()
    }
}

fn write(place: &Path, payload: &Payload, fs_group: Option<i64>) -> io::Result<()> {
    // Where the pod has a group, the directory goes on to hand it to what is made in it.
    let group = fs::metadata(place).map_or(0, |has| has.mode() & ownership::GROUP_BITS);
    directory(place, 0o755)?;
    if payload.memory && !mount::is_mount(place)? {
        mount::tmpfs(place, None)?;
    }
    // Each time: that the directory is there has changed it.
    let mode = group | if payload.memory { 0o1777 } else { 0o777 };
    fs::set_permissions(place, fs::Permissions::from_mode(mode))?;
    atomic::write(place, &payload.files, fs_group)
}

/// What a volume shows.
struct Payload {
    kind: &'static str,
    files: Files,
    /// Kept in memory only.
    memory: bool,
    refresh_at: Option<Timestamp>,
}

/// `Ok(None)`: the volume is of another kind.
async fn make(ctx: &Context, pod: &Pod, volume: &Volume) -> Result<Option<Payload>, String> {
    let mut files = Files::new();
    let mut refresh_at = None;
    let namespace = context::namespace(pod);
    let (kind, memory) = if let Some(source) = &volume.config_map {
        let found = config_map(ctx, namespace, &source.name, source.optional).await?;
        let data = found.as_deref().map(config_map_data).unwrap_or_default();
        let what = format!("configmap {namespace}/{}", source.name);
        select(
            &mut files,
            data,
            source.items.as_deref(),
            source.default_mode,
            source.optional,
            &what,
        )?;
        ("configmap", false)
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let found = secret(ctx, namespace, name, source.optional).await?;
        let data = found.as_deref().map(secret_data).unwrap_or_default();
        let what = format!("secret {namespace}/{name}");
        select(
            &mut files,
            data,
            source.items.as_deref(),
            source.default_mode,
            source.optional,
            &what,
        )?;
        ("secret", true)
    } else if let Some(source) = &volume.downward_api {
        downward_files(
            ctx,
            pod,
            &mut files,
            source.items.as_deref(),
            source.default_mode,
        )?;
        ("downward-api", true)
    } else if let Some(source) = &volume.projected {
        for (index, one) in source.sources.iter().flatten().enumerate() {
            let place = (&*volume.name, index);
            let next = project(ctx, pod, &mut files, place, one, source.default_mode).await?;
            refresh_at = match (refresh_at, next) {
                (Some(a), Some(b)) => Some(Timestamp::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        ("projected", true)
    } else {
        return Ok(None);
    };
    Ok(Some(Payload {
        kind,
        files,
        memory,
        refresh_at,
    }))
}

async fn project(
    ctx: &Context,
    pod: &Pod,
    files: &mut Files,
    place: (&str, usize),
    source: &VolumeProjection,
    mode: Option<i32>,
) -> Result<Option<Timestamp>, String> {
    let namespace = context::namespace(pod);
    if let Some(source) = &source.config_map {
        let found = config_map(ctx, namespace, &source.name, source.optional).await?;
        let data = found.as_deref().map(config_map_data).unwrap_or_default();
        let what = format!("configmap {namespace}/{}", source.name);
        select(
            files,
            data,
            source.items.as_deref(),
            mode,
            source.optional,
            &what,
        )?;
    } else if let Some(source) = &source.secret {
        let found = secret(ctx, namespace, &source.name, source.optional).await?;
        let data = found.as_deref().map(secret_data).unwrap_or_default();
        let what = format!("secret {namespace}/{}", source.name);
        select(
            files,
            data,
            source.items.as_deref(),
            mode,
            source.optional,
            &what,
        )?;
    } else if let Some(source) = &source.downward_api {
        downward_files(ctx, pod, files, source.items.as_deref(), mode)?;
    } else if let Some(source) = &source.service_account_token {
        return token(ctx, pod, files, source, mode).await.map(Some);
    } else if let Some(source) = &source.cluster_trust_bundle {
        let content = trust_bundle::anchors(&ctx.objects, source).await?;
        files.insert(source.path.clone(), restricted(pod, content, mode));
    } else if let Some(source) = &source.pod_certificate {
        let bundle = ctx.certificates.get(ctx, pod, place, source).await?;
        for (path, content) in certificate::files(source, &bundle) {
            files.insert(path.to_owned(), restricted(pod, content, mode));
        }
        return Ok(Some(bundle.refresh_at));
    } else {
        return Err("projected volume source is not supported".to_owned());
    }
    Ok(None)
}

async fn token(
    ctx: &Context,
    pod: &Pod,
    files: &mut Files,
    source: &ServiceAccountTokenProjection,
    mode: Option<i32>,
) -> Result<Timestamp, String> {
    let token = ctx.tokens.get(pod, source).await?;
    let content = token.text.into_bytes();
    files.insert(source.path.clone(), restricted(pod, content, mode));
    Ok(token.refresh_at)
}

/// A file of a projection that only the pod's user and group may read, where the pod says who they are.
fn restricted(pod: &Pod, content: Vec<u8>, default: Option<i32>) -> File {
    let security = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let owner = common_user(pod);
    let mode = match (security.and_then(|s| s.fs_group), owner) {
        (Some(_), _) => TOKEN_GROUP_MODE,
        (None, Some(_)) => TOKEN_MODE,
        (None, None) => mode(default),
    };
    File {
        content,
        mode,
        owner,
    }
}

/// The user that all containers run as, when it is the same for all.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let mut users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| {
            c.security_context
                .as_ref()
                .and_then(|s| s.run_as_user)
                .or(of_pod)
        });
    let first = users.next()??;
    users
        .all(|user| user == Some(first))
        .then(|| u32::try_from(first).ok())?
}

async fn config_map(
    ctx: &Context,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<std::sync::Arc<ConfigMap>>, String> {
    let found = ctx
        .objects
        .config_map(namespace, name)
        .await
        .map_err(|e| e.to_string())?;
    match found {
        None if optional != Some(true) => Err(format!("configmap \"{name}\" not found")),
        found => Ok(found),
    }
}

async fn secret(
    ctx: &Context,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<std::sync::Arc<Secret>>, String> {
    let found = ctx
        .objects
        .secret(namespace, name)
        .await
        .map_err(|e| e.to_string())?;
    match found {
        None if optional != Some(true) => Err(format!("secret \"{name}\" not found")),
        found => Ok(found),
    }
}

type Data = BTreeMap<String, Vec<u8>>;

fn config_map_data(map: &ConfigMap) -> Data {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> Data {
    secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()))
        .collect()
}

fn mode(value: Option<i32>) -> u32 {
    u32::try_from(value.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

/// Adds all keys, or the named ones at their paths.
pub(super) fn select(
    files: &mut Files,
    mut data: Data,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: Option<bool>,
    what: &str,
) -> Result<(), String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        let file = |content| File {
            content,
            mode: mode(default),
            owner: None,
        };
        files.extend(data.into_iter().map(|(key, content)| (key, file(content))));
        return Ok(());
    };
    let multiple = items.len() > 1;
    for item in items {
        // A key may be shown at more than one path.
        let content = if multiple {
            data.get(&item.key).cloned()
        } else {
            data.remove(&item.key)
        };
        match content {
            Some(content) => {
                let file = File {
                    content,
                    mode: mode(item.mode.or(default)),
                    owner: None,
                };
                files.insert(item.path.clone(), file);
            }
            None if optional == Some(true) => {}
            None => {
                let (kind, _) = what.split_once(' ').unwrap_or((what, ""));
                return Err(
                    format!("{kind} references non-existent {kind} key: {}", item.key).replacen(
                        "configmap references non-existent configmap",
                        "configmap references non-existent config",
                        1,
                    ),
                );
            }
        }
    }
    Ok(())
}

fn downward_files(
    ctx: &Context,
    pod: &Pod,
    files: &mut Files,
    items: Option<&[DownwardAPIVolumeFile]>,
    default: Option<i32>,
) -> Result<(), String> {
    let facts = ctx.facts(pod, Vec::new());
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, &field.field_path, &facts)
        } else if let Some(field) = &item.resource_field_ref {
            let spec = pod.spec.as_ref();
            let own = spec.and_then(|s| s.containers.first());
            let Some(own) = own else { continue };
            downward::resource(pod, own, field, &facts)
        } else {
            continue;
        };
        let content = text.map_err(|error| error.to_string())?.into_bytes();
        let file = File {
            content,
            mode: mode(item.mode.or(default)),
            owner: None,
        };
        files.insert(item.path.clone(), file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_the_same_mode_when_it_is_written_again() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: mounting needs root");
        }
        for (memory, group, wanted) in [
            (true, None, 0o1777),
            (false, None, 0o777),
            (true, Some(3000), 0o3777),
            (false, Some(3000), 0o2777),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("volume");
            for content in ["first", "second", "second"] {
                let file = File {
                    content: content.into(),
                    mode: 0o644,
                    owner: None,
                };
                let payload = Payload {
                    kind: "secret",
                    files: [("file".to_owned(), file)].into(),
                    memory,
                    refresh_at: None,
                };
                write(&place, &payload, group).unwrap();
                let mode = fs::metadata(&place).unwrap().permissions().mode() & 0o7777;
                assert_eq!(mode, wanted, "{content} of {memory}, {group:?}: {mode:o}");
            }
            mount::unmount_below(dir.path()).unwrap();
        }
    }
}
