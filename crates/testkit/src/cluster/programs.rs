//! Programs that are run on a cluster's node, and beside it.

use std::{env, ffi::OsStr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::Cluster;
use crate::{
    command::{self, Output},
    host,
    kubectl::Kubectl,
};

const KUBECTL_DEADLINE: Duration = Duration::from_secs(90);
const CURL_DEADLINE: Duration = Duration::from_secs(30);

impl Cluster {
    /// The binary with a subcommand, on the node.
    pub fn knarr(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.command(knarr_binary()?);
        command.args(arguments);
        Ok(command)
    }

    /// A program on the node, with the cluster's kubeconfig in its environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.network.command(program);
        self.environment(&mut command);
        command
    }

    /// A program on a machine beside the node.
    pub fn client_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.network.client_command(program);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        // A kubectl keeps what it has learnt of a server below HOME.
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", host::directory(self.name.id()))
            .env_remove("KUBECACHEDIR")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY");
    }

    /// Runs kubectl on the node; its output when it succeeds.
    pub fn kubectl(&self, kubectl: &Kubectl, arguments: &[&str]) -> Result<String> {
        self.kubectl_output(kubectl, arguments)?.success()
    }

    /// Runs kubectl on the node, however it ends.
    pub fn kubectl_output(&self, kubectl: &Kubectl, arguments: &[&str]) -> Result<Output> {
        self.kubectl_input(kubectl, arguments, "")
    }

    /// Runs kubectl on the node with a text on its standard input, however it ends.
    pub fn kubectl_input(
        &self,
        kubectl: &Kubectl,
        arguments: &[&str],
        input: &str,
    ) -> Result<Output> {
        let mut command = self.command(&kubectl.path);
        command.args(arguments);
        command::run_with_input(command, input.as_bytes(), KUBECTL_DEADLINE)
    }

    /// A GET with curl from the node; the body of an answer below 400.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        curl(self.command("curl"), arguments)
    }

    /// A GET with curl from the machine beside the node.
    pub fn client_curl(&self, arguments: &[&str]) -> Result<String> {
        curl(self.client_command("curl"), arguments)
    }
}

fn curl(mut command: Command, arguments: &[&str]) -> Result<String> {
    const CURL_SECONDS: &str = "5";
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            CURL_SECONDS,
        ])
        .args(arguments);
    command::run(command, CURL_DEADLINE)?.success()
}

/// The binary under test: `KNARR_BIN`, or that which was built beside the tests.
pub fn knarr_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("KNARR_BIN") {
        return Ok(path.into());
    }
    let test = env::current_exe().context("cannot find the test's own file")?;
    let built = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join("knarr"))
        .find(|path| path.is_file());
    built.context("build the binary first: cargo build -p knarr (or set KNARR_BIN)")
}
