//! The first process in the cluster's namespaces: makes its mounts, starts the components, waits until the node and DNS are
//! ready, and ends when a component or its own standard input does. The kernel ends all others with it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use knarr_testkit::{eventually, run_with_input};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};

use super::{
    component::{self, Component, KUBECTL, LOGS, NODE},
    components, containerd,
    exchange::Part,
    host, pki,
};
use crate::image::recipes::DNS_IMAGE;

/// Names the image archives to import, one a line, below the cluster's directory.
pub const ARCHIVES: &str = "config/archives";

const HOST_RESOLVER: &str = "/etc/resolv.conf";
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
const READY_DEADLINE: Duration = Duration::from_secs(180);
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// Lines of a log that are shown when its component ends.
const LOG_LINES: usize = 20;
const DNS: &str = include_str!("dns.yaml");

pub fn run(dir: &Path, name: &str, ours: &[Part]) -> Result<()> {
    end_with_stdin();
    mounts(dir)?;
    let started = Instant::now();
    let mut running = Running::default();
    running.start(dir, components::foundation(dir)?)?;
    let kubectl = Kubectl(dir);
    running.until(ANSWER_DEADLINE, "the API server answers", || {
        kubectl.run(&["get", "--raw=/readyz"], "")
    })?;
    running.start(dir, components::clients(dir, name, ours)?)?;
    running.import(dir)?;
    kubectl.run(&["apply", "--filename=-"], &dns())?;
    running.until(READY_DEADLINE, "the node is ready", || {
        kubectl.run(
            &[
                "wait",
                "--for=condition=Ready",
                "--timeout=1s",
                "node",
                NODE,
            ],
            "",
        )
    })?;
    running.until(READY_DEADLINE, "DNS is ready", || {
        kubectl.run(
            &[
                "--namespace=kube-system",
                "rollout",
                "status",
                "--timeout=1s",
                "deployment/coredns",
            ],
            "",
        )
    })?;
    let mut out = io::stdout();
    writeln!(
        out,
        "upstream is ready in {:.1} s\nkubeconfig: {}\nnetwork namespace: {name}",
        started.elapsed().as_secs_f64(),
        dir.join(pki::ADMIN).display()
    )?;
    out.flush()?;
    running.reap()
}

/// The owner's end is this process's, whatever it is doing.
pub fn end_with_stdin() {
    thread::spawn(|| {
        let mut byte = [0];
        while io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
        process::exit(0);
    });
}

/// Mounts of pods are shared between the components, and with nobody else.
fn mounts(dir: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .context("cannot share mounts")?;
    for path in host::PRIVATE {
        let own = host::private(dir, path);
        mount(Some(&own), path, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot mount over {path}"))?;
    }
    // Whoever asks for a name of the world should hear at once that there is none.
    if !Path::new(HOST_RESOLVER).exists() {
        return Ok(());
    }
    let resolver = component::config(dir, component::RESOLVER);
    mount(Some(&resolver), HOST_RESOLVER, none, MsFlags::MS_BIND, none)
        .context("cannot mount over the host's nameservers")
}

fn dns() -> String {
    DNS.replace("{{image}}", DNS_IMAGE)
        .replace("{{address}}", component::DNS_IP)
}

struct Kubectl<'a>(&'a Path);

impl Kubectl<'_> {
    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut kubectl = Command::new(KUBECTL.path());
        kubectl
            .arg("--kubeconfig")
            .arg(self.0.join(pki::ADMIN))
            .args(arguments);
        run_with_input(kubectl, input.as_bytes(), COMMAND_DEADLINE)?.success()
    }
}

/// The components, by process.
#[derive(Default)]
pub struct Running(Vec<Process>);

struct Process {
    name: &'static str,
    child: process::Child,
    log: std::path::PathBuf,
}

impl Process {
    fn ended(&self, how: &str) -> anyhow::Error {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        anyhow::anyhow!("{} ended: {how}\n{}", self.name, tail.join("\n"))
    }
}

impl Running {
    pub fn start(&mut self, dir: &Path, components: Vec<Component>) -> Result<()> {
        for component in components {
            let log = dir.join(LOGS).join(format!("{}.log", component.name));
            let file = File::create(&log)?;
            let child = Command::new(&component.program)
                .args(&component.arguments)
                .env("PATH", &component.path)
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()
                .with_context(|| format!("cannot start {}", component.name))?;
            self.0.push(Process {
                name: component.name,
                child,
                log,
            });
        }
        Ok(())
    }

    /// Waits for something, but no longer than the components run.
    fn until<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<()> {
        eprintln!("waiting until {what} ...");
        let mut ended = None;
        eventually(deadline, what, || {
            for process in &mut self.0 {
                if let Some(status) = process.child.try_wait()? {
                    ended = Some(process.ended(&status.to_string()));
                    return Ok(());
                }
            }
            look().map(drop)
        })?;
        ended.map_or(Ok(()), Err)
    }

    /// Gives containerd the archives, as soon as it takes them.
    pub fn import(&mut self, dir: &Path) -> Result<()> {
        let archives = fs::read_to_string(dir.join(ARCHIVES))?;
        for archive in archives.lines() {
            self.until(ANSWER_DEADLINE, "containerd takes images", || {
                containerd::import(dir, Path::new(archive))
            })?;
        }
        Ok(())
    }

    /// Takes the end of every process that has no other parent; returns when it is a component's.
    pub fn reap(&self) -> Result<()> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::empty())) {
                Err(Errno::EINTR) => continue,
                status => status?,
            };
            let how = match status {
                WaitStatus::Exited(_, code) => format!("exit code {code}"),
                WaitStatus::Signaled(_, signal, _) => signal.to_string(),
                _ => continue,
            };
            let pid: Option<Pid> = status.pid();
            let component = self.0.iter().find(|process| {
                pid.is_some_and(|pid| pid.as_raw().cast_unsigned() == process.child.id())
            });
            if let Some(component) = component {
                bail!(component.ended(&how));
            }
        }
    }
}
