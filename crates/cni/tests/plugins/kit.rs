//! Network namespaces, and calling a plugin as a runtime does.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use serde_json::Value;

/// A network namespace for as long as this is: a thread holds it.
pub struct Namespace {
    pub path: PathBuf,
    end: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Namespace {
    pub fn new() -> Self {
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let holder = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid()).unwrap();
            // Ends with an error, when the other half is dropped.
            let _ = ended.recv();
        });
        let thread = told.recv().unwrap();
        Self {
            path: PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id())),
            end: Some(end),
            holder: Some(holder),
        }
    }

    /// A program to be run in it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display()));
        command.arg(program);
        command
    }

    /// What a program prints that is to succeed.
    pub fn run(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let mut command = self.command(words.next().unwrap().as_ref());
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs work in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let netns = fs::File::open(&self.path).unwrap();
                nix::sched::setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }

    /// Whether `lo` is up, by the flags that the kernel shows.
    pub fn is_up(&self) -> bool {
        const IFF_UP: u32 = 1;
        let path = self.path.clone();
        let read = thread::spawn(move || {
            let netns = fs::File::open(path).unwrap();
            nix::sched::setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
            nix::ifaddrs::getifaddrs()
                .unwrap()
                .filter(|address| address.interface_name == "lo")
                .any(|address| address.flags.bits().cast_unsigned() & IFF_UP != 0)
        });
        read.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.end.take();
        if let Some(holder) = self.holder.take() {
            holder.join().ok();
        }
    }
}

/// How a plugin is called.
pub struct Call<'a> {
    pub program: &'a Path,
    /// The network namespace of the node; the test's by default.
    pub node: Option<&'a Namespace>,
    pub id: &'a str,
    pub ifname: &'a str,
    pub netns: Option<&'a Path>,
}

impl Call<'_> {
    /// The exit code and answer.
    pub fn run(&self, verb: &str, config: &Value) -> (i32, Value) {
        let mut command = match self.node {
            Some(node) => node.command(self.program),
            None => Command::new(self.program),
        };
        let mut process = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", self.id)
            .env("CNI_IFNAME", self.ifname)
            .env("CNI_PATH", "/")
            .env("CNI_NETNS", self.netns.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // VERSION does not read it.
        let _ = stdin.write_all(config.to_string().as_bytes());
        drop(stdin);
        let output = process.wait_with_output().unwrap();
        let answer = match &output.stdout[..] {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap(),
        };
        (output.status.code().unwrap(), answer)
    }
}
