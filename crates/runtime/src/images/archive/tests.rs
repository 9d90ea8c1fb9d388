use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::id;
use crate::images::platform::architecture;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", id::hex(&Sha256::digest(bytes)))
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// An archive in the making: blobs by their digests.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn blob(&mut self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        add(&mut self.0, &blob(&digest).unwrap(), bytes);
        digest
    }

    fn json(&mut self, value: &Value) -> String {
        self.blob(value.to_string().as_bytes())
    }

    /// An image of one layer; its configuration, its layer and the index of platforms that leads to it.
    fn image(&mut self, content: &str) -> [String; 4] {
        let mut layer = tar::Builder::new(Vec::new());
        add(&mut layer, "file", content.as_bytes());
        let layer = self.blob(&layer.into_inner().unwrap());
        let config = self.json(&json!({
            "architecture": architecture(), "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        }));
        let manifest = self.json(&json!({
            "schemaVersion": 2,
            "config": {"digest": config},
            "layers": [{"digest": layer}],
        }));
        let others = ["s390x", "unknown"].map(|architecture| {
            json!({
                "digest": format!("sha256:{}", "0".repeat(64)),
                "platform": {"os": "linux", "architecture": architecture},
            })
        });
        let ours = json!({
            "digest": manifest,
            "platform": {"os": "linux", "architecture": architecture()},
        });
        let index = self.json(&json!({"manifests": [others[0], others[1], ours]}));
        [config, layer, manifest, index]
    }

    fn index(&mut self, digest: &str, name: &str) {
        let index = json!({"manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest,
            "annotations": {"io.containerd.image.name": name},
        }]});
        add(&mut self.0, "index.json", index.to_string().as_bytes());
    }

    fn layout(&mut self, manifests: &Value) {
        let index = json!({ "manifests": manifests });
        add(&mut self.0, "index.json", index.to_string().as_bytes());
    }

    fn import(self, store: &ImageStore) -> Vec<String> {
        let imported = self.try_import(store).unwrap();
        imported.images.into_iter().map(|image| image.id).collect()
    }

    fn try_import(self, store: &ImageStore) -> Result<Imported, ImportError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.0.into_inner().unwrap()).unwrap();
        store.import_tar(file.path())
    }
}

fn store(directory: &tempfile::TempDir) -> ImageStore {
    ImageStore::open(directory.path().to_owned()).unwrap()
}

fn assert_found(store: &ImageStore, id: &str, names: &[String]) {
    for name in names {
        let found = store.find(name).map(|image| image.id);
        assert_eq!(found.as_deref(), Some(id), "{name}");
    }
}

/// As `ctr image export` writes it: an index of platforms of which one is there.
#[test]
fn an_image_of_a_layout_is_found_by_its_indexs_digest() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut archive = Archive::new();
    let [config, _, manifest, index] = archive.image("x");
    archive.index(&index, "reg.example/app:1");
    assert_eq!(archive.import(&store), std::slice::from_ref(&config));
    let names = [
        "reg.example/app:1".to_owned(),
        format!("reg.example/app@{manifest}"),
        format!("reg.example/app@{index}"),
        format!("reg.example/app:2@{index}"),
    ];
    assert_found(&store, &config, &names);
}

/// As docker writes it since version 25.
#[test]
fn an_image_of_both_forms_is_found_by_its_digests() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut archive = Archive::new();
    let [config, layer, manifest, index] = archive.image("x");
    archive.index(&index, "docker.io/team/app:1");
    let entries = json!([{
        "Config": blob(&config).unwrap(),
        "RepoTags": ["team/app:1"],
        "Layers": [blob(&layer).unwrap()],
    }]);
    add(
        &mut archive.0,
        "manifest.json",
        entries.to_string().as_bytes(),
    );
    assert_eq!(archive.import(&store), std::slice::from_ref(&config));
    let names = [
        "team/app:1".to_owned(),
        format!("team/app@{manifest}"),
        format!("team/app@{index}"),
    ];
    assert_found(&store, &config, &names);
}

fn named(digest: &str, architecture: &str, name: Option<&str>) -> Value {
    let mut descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
    });
    if !architecture.is_empty() {
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    if let Some(name) = name {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    descriptor
}

/// As tools write a layout that copy all of an image, each manifest of it beside the index: one name may be that of several platforms.
#[test]
fn what_else_a_layout_has_takes_no_name_from_the_image_of_this_platform() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut archive = Archive::new();
    let [config, layer, manifest, _] = archive.image("x");
    let foreign_config = archive.json(&json!({
        "architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": [layer]},
    }));
    let foreign = archive.json(&json!({
        "config": {"digest": foreign_config}, "layers": [{"digest": layer}],
    }));
    let said = archive.blob(b"of how it was built");
    let unknown = archive.json(&json!({
        "architecture": "unknown", "os": "unknown", "rootfs": {"diff_ids": []},
    }));
    let attestation = archive.json(&json!({
        "config": {"digest": unknown}, "layers": [{"digest": said}],
    }));
    let empty = archive.json(&json!({}));
    let signature = archive.json(&json!({
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty},
        "layers": [{"digest": said}],
    }));
    let tag = Some("reg.example/app:1");
    archive.layout(&json!([
        named(&manifest, architecture(), tag),
        named(&foreign, "s390x", tag),
        named(&foreign, "", None),
        named(&attestation, "", None),
        named(&attestation, "unknown", None),
        named(&signature, "", Some("reg.example/app:sha256-0.sig")),
    ]));
    let imported = archive.try_import(&store).unwrap();
    let wanted = NamedImage {
        id: config.clone(),
        names: vec!["reg.example/app:1".to_owned()],
    };
    assert_eq!(imported.images, [wanted]);
    assert_eq!(
        imported.skipped,
        [
            "reg.example/app:1: no image for this platform in the archive",
            "reg.example/app:sha256-0.sig: it is no image of a container",
        ]
    );
    assert_found(&store, &config, &["reg.example/app:1".to_owned()]);
}

#[test]
fn an_archive_without_an_image_for_this_platform_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let mut archive = Archive::new();
    let [_, _, manifest, _] = archive.image("x");
    archive.layout(&json!([named(
        &manifest,
        "s390x",
        Some("reg.example/app:1")
    )]));
    let refused = archive.try_import(&store);
    assert!(
        matches!(refused, Err(ImportError::NoPlatform)),
        "{refused:?}"
    );
    assert!(store.find("reg.example/app:1").is_none());
}

#[test]
fn names_are_told_that_the_archive_gives() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let names = [&["team/old:1"][..], &["team/new:1", "team/new:2"], &[]].map(|tags| {
        let mut archive = Archive::new();
        let [config, layer, _, _] = archive.image("x");
        let entries = json!([{
            "Config": blob(&config).unwrap(), "RepoTags": tags, "Layers": [blob(&layer).unwrap()],
        }]);
        let entries = entries.to_string();
        add(&mut archive.0, "manifest.json", entries.as_bytes());
        archive.try_import(&store).unwrap().images.remove(0).names
    });
    let wanted = [
        &["docker.io/team/old:1"][..],
        &["docker.io/team/new:1", "docker.io/team/new:2"],
        &[],
    ];
    assert_eq!(names, wanted);
}

#[test]
fn an_archive_that_ends_too_early_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = Archive::new();
    archive.image(&"x".repeat(10_000));
    let bytes = archive.0.into_inner().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes[..2_000]).unwrap();
    let error = store(&directory).import_tar(file.path()).unwrap_err();
    assert!(
        error.to_string().contains("it ends within blobs/"),
        "{error}"
    );
}

/// Who builds and imports all day must not fill the disk.
#[test]
fn an_image_whose_name_another_was_given_is_kept_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let ids = ["old", "new"].map(|content| {
        let mut archive = Archive::new();
        let [_, _, _, index] = archive.image(content);
        archive.index(&index, "docker.io/team/app:dev");
        archive.import(&store).remove(0)
    });
    let pinned = ids.map(|id| store.find(&id).unwrap().pinned);
    assert_eq!(pinned, [false, true]);
}

#[test]
fn a_compressed_archive_leaves_what_is_reserved_of_the_disk() {
    let mut looks = 0;
    let full = || {
        looks += 1;
        match looks {
            3 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            _ => Ok(()),
        }
    };
    let endless = io::repeat(0);
    let refused = unpack(endless, &mut io::sink(), full).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
    let (mut written, short) = (Vec::new(), &b"short"[..]);
    unpack(short, &mut written, || Ok(())).unwrap();
    assert_eq!(written, short);
}
