//! The plugin `loopback`, in a network namespace of its own.

use std::{fs, os::unix::fs::symlink, path::Path};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::kit::{Call, Namespace};

/// The plugin's exit code and answer.
fn call(program: &Path, command: &str, netns: Option<&Path>, config: &Value) -> (i32, Value) {
    Call {
        program,
        node: None,
        id: "c1",
        ifname: "lo",
        netns,
    }
    .run(command, config)
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
