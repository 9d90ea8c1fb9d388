//! A log that nobody takes: a pipe whose reader has stopped, as good as a disk that stalls.

use std::{fs::File, os::unix::fs::OpenOptionsExt};

use knarr_testkit::Options;
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

use crate::{
    neighbours::Neighbours,
    support::{Shell, newest, step, with_cluster},
};

/// Says more in a moment than a pipe holds.
const TALKATIVE: &str = "debug,hyper=trace,h2=trace";

/// Requests that each say more than a pipe holds.
const TALKS: usize = 20;

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
        let shell = Shell::new(cluster, newest()?, "default");
        step("a bystander", || Neighbours::settle(&shell))?;
        let talk = |name: &str| {
            shell.run(&format!("create configmap {name}"))?;
            shell.says(
                &format!("get configmap {name} -o name"),
                &[&format!("configmap/{name}")],
            )
        };
        step("it answers", || talk("a"))?;
        let neighbours = Neighbours::meet(cluster, &shell)?;
        step("it goes on answering", || {
            (0..TALKS).try_for_each(|number| talk(&format!("a-{number}")).map(drop))
        })?;
        step("the cluster is as it was", || {
            neighbours.unharmed(cluster, &shell)
        })?;
        step("it stops", || cluster.stop())
    });
}
