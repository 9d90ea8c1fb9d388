//! Places in a volume for what is mounted below it. A volume that containers can only read has to have them before it is mounted:
//! nobody can make them afterwards. As upstream's `MakeNestedMountpoints` (`pkg/volume/util/nested_volumes.go`), which is for the
//! volumes that show API objects.

use std::{
    collections::BTreeSet,
    io,
    path::{Component, Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_host::Directory;

use crate::ephemeral;

/// Of the directories that are made.
const MODE: u32 = 0o755;

/// Where other volumes are mounted in one of the pod's, relative to it. Of those that are below each other, the outermost: the
/// others are in that one.
pub(super) fn mount_points(pod: &Pod, volume: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let spec = pod.spec.iter();
    let own = spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    });
    for container in own {
        add(container, volume, &mut found);
    }
    for container in ephemeral::all(pod) {
        add(&ephemeral::container(container), volume, &mut found);
    }
    found
}

fn add(container: &Container, volume: &str, found: &mut BTreeSet<PathBuf>) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let all: BTreeSet<PathBuf> = mounts.iter().map(|m| clean(&m.mount_path)).collect();
    let whole = |path: &Option<String>| path.as_deref().unwrap_or_default().is_empty();
    let places = mounts
        .iter()
        .filter(|m| m.name == volume && whole(&m.sub_path) && whole(&m.sub_path_expr));
    for place in places.map(|mount| clean(&mount.mount_path)) {
        let mut outermost: Option<&Path> = None;
        // Paths sort by their components: what is below one follows it.
        for path in all.range(place.clone()..).skip(1) {
            let Ok(inner) = path.strip_prefix(&place) else {
                break;
            };
            if outermost.is_none_or(|outer| !path.starts_with(outer)) {
                outermost = Some(path);
                found.insert(inner.to_owned());
            }
        }
    }
}

/// Relative to the container's root, without `.` and `..`.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Makes the places in a volume whose files are there already: where one of them is, that is the place.
pub(super) fn make(volume: &Path, points: &BTreeSet<PathBuf>) -> io::Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    let top = Directory::open(volume)?;
    for point in points {
        let Some(first) = point.iter().next().map(Path::new) else {
            continue;
        };
        // Files are links; names that begin with two dots are the writer's own.
        let taken = first.to_string_lossy().starts_with("..") || top.read_link(first).is_ok();
        if !taken {
            top.make_directories(point, MODE)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn the_outermost_of_what_is_mounted_below_a_volume_has_a_place_in_it() {
        let mounts = |all: &[(&str, &str)]| {
            let all = all.iter();
            let all = all.map(|(name, path)| json!({ "name": name, "mountPath": path }));
            json!(all.collect::<Vec<_>>())
        };
        for (all, wanted) in [
            (
                vec![("v", "/etc/app"), ("w", "/etc/app/secrets")],
                vec!["secrets"],
            ),
            (vec![("v", "/p"), ("w", "/p/deep/er")], vec!["deep/er"]),
            (
                vec![
                    ("v", "/p"),
                    ("w", "/p/a"),
                    ("x", "/p/a/b"),
                    ("y", "/p/a-b"),
                    ("z", "/pp/a"),
                ],
                vec!["a", "a-b"],
            ),
            (vec![("v", "p/./x/../"), ("w", "/p//a/")], vec!["a"]),
            (vec![("v", "/p/a"), ("w", "/p")], vec![]),
            (vec![("w", "/p"), ("x", "/p/a")], vec![]),
            (vec![("v", "/"), ("w", "/a")], vec!["a"]),
        ] {
            let pod = testing::pod(json!({
                "containers": [{ "name": "a", "volumeMounts": mounts(&all) }],
            }));
            let found: Vec<PathBuf> = mount_points(&pod, "v").into_iter().collect();
            let wanted: Vec<PathBuf> = wanted.into_iter().map(PathBuf::from).collect();
            assert_eq!(found, wanted, "{all:?}");
        }
        let whole_volumes_only = testing::pod(json!({
            "containers": [{ "name": "a", "volumeMounts": [
                { "name": "v", "mountPath": "/p", "subPath": "x" },
                { "name": "w", "mountPath": "/p/a" },
            ] }],
        }));
        assert!(mount_points(&whole_volumes_only, "v").is_empty());
    }

    #[test]
    fn places_are_made_beside_files_and_nowhere_else() -> io::Result<()> {
        let outer = tempfile::tempdir()?;
        let volume = outer.path().join("volume");
        fs::create_dir(&volume)?;
        symlink("..data/key", volume.join("key"))?;
        symlink("..", volume.join("up"))?;
        let points = ["key", "up/x", "..data", "a/b"].map(PathBuf::from);
        make(&volume, &points.into_iter().collect())?;
        assert!(volume.join("a/b").is_dir());
        assert!(volume.join("key").is_symlink());
        assert!(!volume.join("..data").exists());
        assert_eq!(fs::read_dir(outer.path())?.count(), 1);
        Ok(())
    }
}
