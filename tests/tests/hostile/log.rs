//! A log that nobody takes: a pipe whose reader has stopped, as good as a disk that stalls.

use std::{fs::File, os::unix::fs::OpenOptionsExt};

use knarr_testkit::Options;
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

use crate::support::{Shell, newest, step, with_cluster};

/// Says more in a moment than a pipe holds.
const TALKATIVE: &str = "debug,hyper=trace,h2=trace";

#[test]
fn a_log_that_nobody_takes_holds_up_nobody() {
    with_cluster(Options::default(), |cluster| {
        let path = cluster.directory().join("log");
        mkfifo(&path, Mode::S_IRWXU)?;
        let _reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        cluster.add_flag(format!("--log-file={}", path.display()));
        cluster.add_flag(format!("--log-level={TALKATIVE}"));
        step("it starts", || cluster.up())?;
        step("it answers", || {
            let shell = Shell::new(cluster, newest()?, "default");
            shell.run("create configmap a")?;
            shell.says("get configmap a -o name", &["configmap/a"])
        })?;
        step("it stops", || cluster.stop())
    });
}
