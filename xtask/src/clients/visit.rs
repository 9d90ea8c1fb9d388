//! A client's time on somebody's cluster: it finds nothing of another client's, and nothing of it is left.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Kubectl, Output, image, kubectls, run};

const ASK_DEADLINE: Duration = Duration::from_secs(30);
/// Longer than kubectl's own limit below.
const DELETE_DEADLINE: Duration = Duration::from_secs(150);
const DELETE_TIMEOUT: &str = "--timeout=120s";
/// Names of definitions that clients make, and nobody else, end so.
const DEFINITIONS: &str = ".knarr.dev";

/// What a client makes on the cluster is deleted when this is dropped.
pub struct Visit {
    access: Access,
    /// Where the client makes its objects.
    namespace: &'static str,
}

impl Visit {
    /// Fails where the namespace is somebody's already.
    pub fn begin(kubeconfig: &Path, namespace: &'static str) -> Result<Self> {
        let access = Access::new(kubeconfig)?;
        let asked = access.kubectl(&["get", "namespace", namespace, "--ignore-not-found"])?;
        ensure!(
            asked.status.success(),
            "the cluster does not answer: {}",
            asked.stderr.lines().last().unwrap_or_default()
        );
        ensure!(
            asked.stdout.is_empty(),
            "the cluster has a namespace {namespace}, where the client's objects would be: delete it first"
        );
        Ok(Self { access, namespace })
    }

    /// A program that finds the cluster.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.access.command(program)
    }

    /// For the client's files.
    pub fn directory(&self) -> PathBuf {
        self.access.home.join("client")
    }

    fn leave(&self) -> Result<()> {
        let delete = |what: &[&str]| -> Result<()> {
            let arguments = [&["delete", "--ignore-not-found", DELETE_TIMEOUT], what].concat();
            self.access.kubectl(&arguments)?.success().map(drop)
        };
        delete(&["namespace", self.namespace])?;
        // Not every cluster knows definitions.
        let kinds = self.access.kubectl(&["get", "crd", "--output=name"])?;
        let names = kinds.stdout.lines();
        for name in names.filter(|name| name.ends_with(DEFINITIONS)) {
            delete(&[name])?;
        }
        Ok(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            eprintln!("something is left on the cluster: {error:#}");
        }
    }
}

/// The cluster that a kubeconfig tells of.
struct Access {
    kubeconfig: PathBuf,
    /// Where programs keep what they have learnt of a cluster: of this one, and not of one that was at its address before.
    home: PathBuf,
    kubectl: Kubectl,
}

impl Access {
    fn new(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig =
            fs::canonicalize(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let home = image::target_dir().join("clients/home");
        match fs::remove_dir_all(&home) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| home.display().to_string());
            }
            _ => {}
        }
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        Ok(Self {
            kubeconfig,
            home,
            kubectl: kubectls()?.pop().context("no kubectl found")?,
        })
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home);
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(&self.kubectl.path);
        command.args(arguments);
        let deletes = arguments.first() == Some(&"delete");
        run(
            command,
            if deletes {
                DELETE_DEADLINE
            } else {
                ASK_DEADLINE
            },
        )
    }
}
