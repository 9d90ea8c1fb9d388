use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use crate::id;
use crate::images::{ImageStore, NewImage};

/// A layer with one file of so many bytes; its diff id.
fn layer(store: &ImageStore, bytes: usize) -> String {
    let mut header = Header::new_gnu();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
    header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
    let mut tar = Builder::new(Vec::new());
    let data = vec![b'x'; bytes];
    tar.append_data(&mut header, format!("file-{bytes}"), data.as_slice())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let diff_id = format!("sha256:{}", id::hex(&Sha256::digest(&tar)));
    store.unpack_layer(&diff_id, tar.as_slice()).unwrap();
    diff_id
}

fn image(store: &ImageStore, layers: &[&String]) -> String {
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": layers },
    })
    .to_string();
    let new = NewImage {
        config: config.as_bytes(),
        references: &[],
        manifest_digests: &[],
        pinned: false,
    };
    store.commit(&new).unwrap()
}

#[test]
fn a_shared_layer_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path().to_owned()).unwrap();
    assert_eq!(store.used_bytes(), 0);
    let (base, more, other) = (
        layer(&store, 100_000),
        layer(&store, 1_000),
        layer(&store, 50),
    );
    let first = image(&store, &[&base, &more]);
    let alone = store.used_bytes();
    assert_eq!(alone, store.find(&first).unwrap().size);
    let second = image(&store, &[&base, &other]);
    let both = store.used_bytes();
    assert!(alone < both && both < alone + 100_000, "{alone}, {both}");
    store.remove(&first).unwrap();
    assert_eq!(store.used_bytes(), store.find(&second).unwrap().size);
}
