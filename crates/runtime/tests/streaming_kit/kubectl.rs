//! The kubectls of this machine, each of them the way it speaks by default and, where it has a choice, the other way.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::{Kit, executor};

/// Further ones, separated by colons.
const EXTRA: &str = "KNARR_TEST_KUBECTLS";
/// Directories that may hold several, beside those of `PATH`.
const DIRECTORIES: &[&str] = &["/usr/lib/google-cloud-sdk/bin"];
/// Where 1.30 and later can be told what to speak.
const SWITCHES: [&str; 2] = [
    "KUBECTL_REMOTE_COMMAND_WEBSOCKETS",
    "KUBECTL_PORT_FORWARD_WEBSOCKETS",
];

#[derive(Debug, Clone)]
pub struct Kubectl {
    path: PathBuf,
    websockets: bool,
}

impl Kubectl {
    pub fn name(&self) -> String {
        let protocol = if self.websockets {
            ""
        } else {
            " without websockets"
        };
        format!("{}{protocol}", self.path.display())
    }

    fn command(&self, kit: &Kit, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.path);
        command
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", "/dev/null")
            .envs(SWITCHES.map(|name| (name, self.websockets.to_string())))
            .arg(format!("--server=http://{}", kit.api()))
            .arg("--cache-dir=/nonexistent")
            .args(arguments);
        command
    }
}

/// All that are found; none is said so.
pub fn kubectls() -> Vec<Kubectl> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(DIRECTORIES.iter().map(PathBuf::from))
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name == "kubectl" || name.starts_with("kubectl.1.")
        })
        .map(|entry| entry.path())
        .collect();
    found.extend(std::env::split_paths(
        &std::env::var_os(EXTRA).unwrap_or_default(),
    ));
    found.retain(|path| path.is_file());
    found.sort();
    found.dedup();
    if found.is_empty() {
        eprintln!("skipped: no kubectl found");
    }
    let newest = found.last().cloned();
    let mut kubectls: Vec<Kubectl> = found
        .into_iter()
        .map(|path| Kubectl {
            path,
            websockets: true,
        })
        .collect();
    kubectls.extend(newest.map(|path| Kubectl {
        path,
        websockets: false,
    }));
    kubectls
}

#[derive(Debug)]
pub struct Ended {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

/// A `kubectl port-forward` that listens.
pub struct Forward {
    pub local: u16,
    child: Child,
}

impl Forward {
    pub async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for a line with a text on stderr.
    pub async fn says(&mut self, text: &str) -> String {
        let mut lines = BufReader::new(self.child.stderr.as_mut().unwrap()).lines();
        let found = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("kubectl has not said {text:?}")
        };
        tokio::time::timeout(super::PATIENCE, found).await.unwrap()
    }
}

impl Kit {
    pub async fn kubectl(&self, kubectl: &Kubectl, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child = Command::from(kubectl.command(self, arguments))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = async move {
            // It may end without reading all.
            let _ = stdin.write_all(input).await;
        };
        let both = async { tokio::join!(writing, child.wait_with_output()).1 };
        let output = match tokio::time::timeout(super::PATIENCE, both).await {
            Ok(output) => output.unwrap(),
            Err(_) => panic!("{} {arguments:?} does not end", kubectl.name()),
        };
        Ended {
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// With a terminal of a size (columns, rows); what it shows, and the exit code.
    pub async fn kubectl_tty(
        &self,
        kubectl: &Kubectl,
        arguments: &[&str],
        size: (u16, u16),
    ) -> (String, Option<i32>) {
        let mut command = kubectl.command(self, arguments);
        let master = executor::on_terminal(&mut command, Some(size));
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut master = tokio::fs::File::from_std(master.into());
        let mut shown = Vec::new();
        let reading = async {
            // Its end is an error: the other side is gone.
            let _ = master.read_to_end(&mut shown).await;
        };
        let both = async { tokio::join!(reading, child.wait()).1 };
        let code = match tokio::time::timeout(super::PATIENCE, both).await {
            Ok(status) => status.unwrap().code(),
            Err(_) => panic!("{} {arguments:?} does not end", kubectl.name()),
        };
        (String::from_utf8_lossy(&shown).into_owned(), code)
    }

    pub async fn kubectl_port_forward(&self, kubectl: &Kubectl, port: u16) -> Forward {
        let arguments = [
            "port-forward",
            "p",
            &format!(":{port}"),
            "--address=127.0.0.1",
        ];
        let mut child = Command::from(kubectl.command(self, &arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = self.patiently(lines.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("{} has not started", kubectl.name()));
        let local = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split(' ').next())
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("{}: {line}", kubectl.name()));
        // It writes a line a connection, which somebody has to read.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Forward { local, child }
    }
}
