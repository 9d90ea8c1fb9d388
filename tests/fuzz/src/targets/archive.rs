//! Archives of images that are imported. An input is an archive's files, a line each: a name, a blank, and the content, in which
//! `$0` to `$9` (as in names) are the digests of the contents of the lines so far. A content `tar:…` is a layer with one file,
//! `gz:…` is compressed, and `-> name` is a link. A line `gzip` has the archive compressed.
//!
//! Nothing is written or changed outside of the store. What was imported is found, with all its layers, also by a store that is
//! opened anew.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use knarr_runtime::images::ImageStore;
use tar::{EntryType, Header};

use crate::shape;

use super::store::{Place, digest};
use super::{Target, scratch, texts};

pub struct Archive {
    place: Place,
    dir: tempfile::TempDir,
}

fn header(kind: EntryType, name: &str, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    header
}

fn append(tar: &mut Vec<u8>, mut header: Header, data: &[u8]) {
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// What a line's text stands for.
fn content(text: &str) -> Vec<u8> {
    if let Some(text) = text.strip_prefix("gz:") {
        return gzip(&content(text));
    }
    match text.strip_prefix("tar:") {
        Some(text) => {
            let mut tar = Vec::new();
            append(
                &mut tar,
                header(EntryType::Regular, "file", text.len()),
                text.as_bytes(),
            );
            tar.extend([0; 1_024]);
            tar
        }
        None => text.as_bytes().to_vec(),
    }
}

/// The archive of a script.
fn archive(script: &str) -> Vec<u8> {
    let (mut tar, mut digests, mut compressed) = (Vec::new(), Vec::<String>::new(), false);
    for line in script.lines() {
        let Some((name, text)) = line.split_once(' ') else {
            compressed |= line == "gzip";
            continue;
        };
        let fill = |text: &str, digests: &[String]| {
            let mut filled = text.to_owned();
            for (at, digest) in digests.iter().enumerate().take(10) {
                filled = filled.replace(&format!("${at}"), digest);
            }
            filled
        };
        if let Some(target) = text.strip_prefix("-> ") {
            let mut link = header(EntryType::Symlink, &fill(name, &digests), 0);
            // A target that is too long is none.
            let _ = link.set_link_name(fill(target, &digests));
            append(&mut tar, link, b"");
            continue;
        }
        let bytes = content(&fill(text, &digests));
        digests.push(digest(&bytes));
        let name = fill(name, &digests);
        append(
            &mut tar,
            header(EntryType::Regular, &name, bytes.len()),
            &bytes,
        );
    }
    tar.extend([0; 1_024]);
    match compressed {
        true => gzip(&tar),
        false => tar,
    }
}

/// All that was imported is there.
fn found(store: &ImageStore, root: &Path, ids: &[String]) -> Result<(), String> {
    for id in ids {
        let image = store.find(id).ok_or_else(|| format!("{id} is not there"))?;
        let layers = store.layers(&image).map_err(|error| error.to_string())?;
        if let Some(layer) = layers.iter().find(|layer| !layer.starts_with(root)) {
            return Err(format!("{} is outside", layer.display()));
        }
    }
    let again = ImageStore::open(root.to_owned()).map_err(|error| error.to_string())?;
    let names = |store: &ImageStore| -> Vec<_> {
        let images = store.list().into_iter();
        images
            .map(|image| (image.id, image.tags, image.digests))
            .collect()
    };
    match names(&again) == names(store) {
        true => Ok(()),
        false => Err(format!("{:?} becomes {:?}", names(store), names(&again))),
    }
}

impl Archive {
    pub fn new() -> Self {
        Self {
            place: Place::new(),
            dir: scratch(),
        }
    }
}

impl Target for Archive {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "blobs/sha256/$0 tar:hello\nblobs/sha256/$1 {\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"sha256:$0\"]}}\nblobs/sha256/$2 {\"config\":{\"digest\":\"sha256:$1\"},\"layers\":[{\"digest\":\"sha256:$0\"}]}\nindex.json {\"manifests\":[{\"digest\":\"sha256:$2\",\"annotations\":{\"io.containerd.image.name\":\"docker.io/library/x:1\"}}]}",
            "gzip\na/layer.tar tar:hello\nb/layer.tar -> ../a/layer.tar\n$1.json {\"config\":{\"User\":\"1\",\"Env\":[\"A=b\"]},\"rootfs\":{\"diff_ids\":[\"sha256:$0\",\"sha256:$0\"]}}\nmanifest.json [{\"Config\":\"$1.json\",\"RepoTags\":[\"x:1\",\"y/z\"],\"Layers\":[\"a/layer.tar\",\"b/layer.tar\"]}]",
            "blobs/sha256/$0 tar:x\nblobs/sha256/$1 gz:tar:x\nblobs/sha256/$2 {\"rootfs\":{\"diff_ids\":[\"sha256:$0\"]}}\nblobs/sha256/$3 {\"config\":{\"digest\":\"sha256:$2\"},\"layers\":[{\"digest\":\"sha256:$1\"}]}\nblobs/sha256/$4 {\"manifests\":[{\"digest\":\"sha256:$3\",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}}]}\nindex.json {\"manifests\":[{\"digest\":\"sha256:$4\",\"mediaType\":\"application/vnd.oci.image.index.v1+json\"}]}",
            "c.json {}\nmanifest.json [{\"Config\":\"c.json\",\"Layers\":[]},{\"Config\":\"../c.json\",\"RepoTags\":null,\"Layers\":[]}]",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "sha256:$0",
            "sha256:$1",
            "sha256:",
            "\"diff_ids\":[",
            "\"layers\":[{\"digest\":\"sha256:$0\"}]",
            "\"mediaType\":\"index\",",
            "\"RepoTags\":[\"a:b\"],",
            "\"annotations\":{\"org.opencontainers.image.ref.name\":\"a/b:c@sha256:$0\"},",
            "\nindex.json ",
            "\nmanifest.json ",
            "\nblobs/sha256/$5 ",
            "gz:",
            "tar:",
            "-> ",
            "../",
            "./",
            "gzip\n",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let path = self.dir.path().join("archive.tar");
        let bytes = archive(&String::from_utf8_lossy(input));
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
        let store = self.place.store();
        let outcome = store.import_tar(&path);
        self.place.check()?;
        match outcome {
            Ok(imported) => {
                let images = imported.images.into_iter();
                let ids: Vec<String> = images.map(|image| image.id).collect();
                found(&store, &self.place.root(), &ids)?;
                let tags: usize = store.list().iter().map(|image| image.tags.len()).sum();
                let layers: usize = store
                    .list()
                    .iter()
                    .map(|i| i.config.rootfs.diff_ids.len())
                    .sum();
                Ok(shape::exact(format!(
                    "{} {} {}",
                    ids.len(),
                    tags.min(4),
                    layers.min(4)
                )))
            }
            Err(error) => Ok(shape::of(&error.to_string())),
        }
    }
}
