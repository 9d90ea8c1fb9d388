//! A place on this machine for programs other than knarr.

use std::{fs, path::PathBuf, sync::Once};

use anyhow::{Context, Result};

use crate::{
    host::{self, Name},
    network::Network,
};

/// A directory, a network, and a name that no control group has. What programs there leave is removed when it is dropped, or by
/// the next test when this one is killed: processes in the network or the groups of that name, mounts, the groups, the directory.
pub struct Ground {
    // Dropped last: others see by it that somebody looks after the rest.
    network: Network,
    name: Name,
}

impl Ground {
    pub fn new() -> Result<Self> {
        sweep();
        let name = Name::new()?;
        let directory = host::directory(name.id());
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        Ok(Self {
            network: Network::new(name.id())?,
            name,
        })
    }

    pub fn directory(&self) -> PathBuf {
        host::directory(self.name.id())
    }

    /// The name for control groups, at the root of a hierarchy or one below.
    pub fn group(&self) -> &str {
        self.name.id()
    }

    pub fn network(&self) -> &Network {
        &self.network
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        host::remove(self.name.id(), &[self.name.id()]);
    }
}

/// Removes, once a process, what tests left that were killed.
pub fn sweep() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(host::sweep);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ground_that_is_dropped_leaves_no_process_and_no_file() {
        if !host::can_run_clusters() {
            return;
        }
        let ground = Ground::new().unwrap();
        let directory = ground.directory();
        fs::write(directory.join("file"), "").unwrap();
        let network = ground.network().path();
        let mut process = ground.network().command("sleep").arg("60").spawn().unwrap();
        crate::eventually(Duration::from_secs(10), "it runs there", || {
            let there = host::processes(ground.group(), &[]);
            anyhow::ensure!(there.contains(&process.id().cast_signed()));
            Ok(())
        })
        .unwrap();
        drop(ground);
        assert!(!directory.exists() && !network.exists());
        assert!(process.try_wait().unwrap().is_some(), "it runs");
    }
}
