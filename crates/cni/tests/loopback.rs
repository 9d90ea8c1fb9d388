//! The plugin `loopback` as runtimes call it, in a network namespace of its own. Needs root; skips with a reason otherwise.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{geteuid, gettid},
};
use serde_json::{Value, json};

/// A namespace for as long as this is: a thread holds it.
struct Namespace {
    path: PathBuf,
    end: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Namespace {
    fn new() -> Self {
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

    /// Whether `lo` is up, by the flags that the kernel shows.
    fn is_up(&self) -> bool {
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

/// The plugin's exit code and answer.
fn call(program: &Path, command: &str, netns: Option<&Path>, config: &Value) -> (i32, Value) {
    let mut process = Command::new(program)
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_IFNAME", "lo")
        .env("CNI_PATH", "/")
        .env("CNI_NETNS", netns.unwrap_or(Path::new("")))
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

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

#[test]
fn loopback_is_a_plugin_under_that_name() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("loopback");
    symlink(env!("CARGO_BIN_EXE_knarr-cni"), &program).unwrap();
    let namespace = Namespace::new();
    let netns = Some(namespace.path.as_path());
    let nothing = (0, Value::Null);

    let (code, versions) = call(&program, "VERSION", None, &Value::Null);
    let known = versions["supportedVersions"].as_array().unwrap();
    assert_eq!(code, 0);
    assert!(known.contains(&json!("0.3.1")) && known.contains(&json!("1.0.0")));

    assert!(!namespace.is_up());
    let (code, error) = call(&program, "CHECK", netns, &config("1.0.0"));
    assert_eq!((code, &error["msg"]), (1, &json!("lo is down")));

    for (version, families) in [
        ("0.3.1", [json!("4"), json!("6")]),
        ("1.0.0", [Value::Null, Value::Null]),
    ] {
        let (code, result) = call(&program, "ADD", netns, &config(version));
        assert_eq!(code, 0, "{result}");
        assert_eq!(result["cniVersion"], version);
        let interface =
            json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": namespace.path});
        assert_eq!(result["interfaces"], json!([interface]));
        let ips = result["ips"].as_array().unwrap();
        assert_eq!(ips[0]["address"], "127.0.0.1/8");
        assert_eq!(
            [&ips[0]["version"], &ips[1]["version"]],
            [&families[0], &families[1]]
        );
        assert!(namespace.is_up());
        assert_eq!(call(&program, "CHECK", netns, &config(version)), nothing);
        assert_eq!(call(&program, "DEL", netns, &config(version)), nothing);
        assert!(!namespace.is_up());
    }

    // In a list, what the plugin before made is passed on.
    let mut chained = config("1.0.0");
    chained["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/32"}]});
    let (code, result) = call(&program, "ADD", netns, &chained);
    assert_eq!((code, &result), (0, &chained["prevResult"]));

    // DEL is for cleaning up whatever there is.
    let gone = Some(Path::new("/nonexistent/netns"));
    let file = directory.path().join("netns");
    fs::write(&file, "").unwrap();
    for netns in [None, gone, Some(file.as_path())] {
        assert_eq!(call(&program, "DEL", netns, &config("1.0.0")), nothing);
    }
    for (command, netns, version, code) in [
        ("ADD", None, "1.0.0", 4),
        ("ADD", gone, "1.0.0", 101),
        ("ADD", netns, "9.0.0", 1),
        ("NOPE", netns, "1.0.0", 4),
    ] {
        let (exit, error) = call(&program, command, netns, &config(version));
        assert_eq!((exit, &error["code"]), (1, &json!(code)), "{error}");
    }
}
