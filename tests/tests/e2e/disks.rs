//! Disks of an administrator's in the data directory: a cluster that is taken down leaves them mounted, and what is on them.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::{step, with_cluster};

#[test]
fn disks_in_the_data_directory_stay_mounted() {
    with_cluster(Options::default(), |cluster| {
        let data = cluster.data_dir();
        let storage = data.join("storage");
        disk(&data)?;
        disk(&storage)?;
        fs::write(storage.join("kept"), "")?;
        let ended = used(cluster, &storage);
        umount2(&storage, MntFlags::MNT_DETACH)?;
        let ended = ended.and_then(|()| purged(cluster, &data));
        umount2(&data, MntFlags::MNT_DETACH)?;
        ended?;
        cluster.assert_gone()
    });
}

fn disk(place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let (kind, nothing) = (Some("tmpfs"), None::<&str>);
    mount(kind, place, kind, MsFlags::empty(), nothing)
        .with_context(|| format!("cannot mount {}", place.display()))
}

fn used(cluster: &mut Cluster, storage: &Path) -> Result<()> {
    step("knarr up", || cluster.up())?;
    step("down", || cluster.down(&[]))?;
    ensure!(
        storage.join("kept").exists(),
        "down has unmounted an administrator's disk"
    );
    let refused = step("down --purge, with a disk", || {
        Ok(cluster.down(&["--purge"]).err())
    })?;
    let refused = refused.context("--purge deletes beside a disk")?;
    let text = format!("{refused:#}");
    ensure!(text.contains("something is mounted on"), "{text}");
    ensure!(storage.join("kept").exists(), "a disk was emptied");
    Ok(())
}

fn purged(cluster: &mut Cluster, data: &Path) -> Result<()> {
    step("down --purge, on a disk", || cluster.down(&["--purge"]))?;
    let left = fs::read_dir(data)?.count();
    ensure!(left == 0, "--purge leaves {left} entries");
    Ok(())
}
