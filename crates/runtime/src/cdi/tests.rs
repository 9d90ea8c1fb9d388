use super::*;

const GPU: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/gpu
devices:
- name: one
  containerEdits:
    env: [GPU=one]
    deviceNodes:
    - path: /dev/gpu-one
      hostPath: /dev/null
      permissions: rw
- name: two
  containerEdits:
    env: [GPU=two]
    deviceNodes:
    - {path: /dev/gpu-two, type: c, major: 240, minor: 7, uid: 9, fileMode: 384}
containerEdits:
  env: [COMMON=1]
  additionalGids: [44]
  mounts:
  - {hostPath: /opt/vendor, containerPath: /vendor, options: [ro]}
"#;

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn names(names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| format!("vendor.com/gpu={name}"))
        .collect()
}

fn oci() -> Value {
    json!({
        "process": {"user": {"uid": 5, "gid": 6, "additionalGids": [6]}, "env": ["PATH=/bin", "GPU=none"]},
        "mounts": [{"destination": "/proc"}],
        "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}},
    })
}

#[test]
fn devices_are_put_into_containers() {
    let directory = directory(&[("gpu.yaml", GPU), ("notes.txt", "no")]);
    let directories = [directory.path().to_owned()];
    let injection = resolve(&directories, &names(&["one", "two", "one"])).unwrap();
    let mut found = oci();
    injection.apply(&mut found).unwrap();
    assert_eq!(
        found["process"]["env"],
        json!(["PATH=/bin", "COMMON=1", "GPU=two"])
    );
    assert_eq!(found["process"]["user"]["additionalGids"], json!([6, 44]));
    let mount = json!({"destination": "/vendor", "source": "/opt/vendor", "type": "bind", "options": ["rbind", "ro"]});
    assert_eq!(found["mounts"], json!([{"destination": "/proc"}, mount]));
    let mode = spec::device("/dev/null").unwrap().mode;
    let devices = json!([
        {"path": "/dev/gpu-one", "type": "c", "major": 1, "minor": 3, "uid": 5, "gid": 6, "fileMode": mode},
        {"path": "/dev/gpu-two", "type": "c", "major": 240, "minor": 7, "uid": 9, "gid": 6, "fileMode": 384},
    ]);
    assert_eq!(found["linux"]["devices"], devices);
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": true, "type": "c", "major": 240, "minor": 7, "access": "rwm"},
    ]);
    assert_eq!(found["linux"]["resources"]["devices"], rules);
}

#[test]
fn what_is_not_known_or_not_possible_is_refused() {
    let hooked = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "devices": [
        {"name": "hook", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}},
        {"name": "gone", "containerEdits": {"deviceNodes": [{"path": "/dev/not-there"}]}},
        {"name": "file", "containerEdits": {"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/passwd"}]}}]}"#;
    let directory = directory(&[("a.json", hooked), ("broken.json", "{")]);
    let directories = [directory.path().to_owned()];
    let error = resolve(&directories, &names(&["hook", "nope", "never"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unresolvable CDI devices vendor.com/gpu=nope, vendor.com/gpu=never"
    );
    for (name, wanted) in [
        (
            "hook",
            "CDI device vendor.com/gpu=hook: hooks are not supported by this runtime",
        ),
        ("gone", "CDI device vendor.com/gpu=gone: /dev/not-there:"),
        ("file", "CDI device vendor.com/gpu=file: /dev/x:"),
    ] {
        let injection = resolve(&directories, &names(&[name])).unwrap();
        let error = injection.apply(&mut oci()).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn later_directories_go_first_and_files_must_agree() {
    let one = |value: &str| {
        format!(
            r#"{{"kind": "vendor.com/gpu", "devices": [{{"name": "a", "containerEdits": {{"env": ["A={value}"]}}}}]}}"#
        )
    };
    let (etc, run) = (
        directory(&[("a.json", &one("etc"))]),
        directory(&[("a.json", &one("run"))]),
    );
    let directories = [etc.path().to_owned(), run.path().to_owned()];
    let mut found = oci();
    resolve(&directories, &names(&["a"]))
        .unwrap()
        .apply(&mut found)
        .unwrap();
    assert_eq!(found["process"]["env"][2], json!("A=run"));
    let twice = directory(&[("a.json", &one("1")), ("b.json", &one("2"))]);
    let error = resolve(&[twice.path().to_owned()], &names(&["a"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unresolvable CDI devices vendor.com/gpu=a"
    );
    assert!(resolve(&[], &[]).unwrap().0.is_empty());
}

/// Nobody writes to the FIFO: who opened it would wait for good, and with it each container that has devices.
#[test]
fn what_is_no_file_says_nothing() {
    let directory = directory(&[("b.yaml", GPU)]);
    let fifo = directory.path().join("a.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (done, waits) = std::sync::mpsc::channel();
    let directories = vec![directory.path().to_owned()];
    std::thread::spawn(move || {
        let _ = done.send(resolve(&directories, &names(&["one"])).is_ok());
    });
    let found = waits.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(found, Ok(true));
}
