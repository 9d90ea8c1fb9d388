use std::{os::unix::fs::PermissionsExt, time::Instant};

use serde_json::json;

use super::*;
use crate::testing::object;

/// A program of the host that does what `script` says.
fn program(dir: &Path, name: &str, script: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn programs(dir: &Path, mount: &str, umount: &str) -> Programs {
    Programs {
        mount: program(dir, "mount", mount),
        umount: program(dir, "umount", umount),
        unmount_timeout: Duration::from_millis(300),
        force_timeout: Duration::from_millis(300),
    }
}

fn export(dir: &Path) -> Export {
    let source = object(json!({ "server": "server", "path": "/path" }));
    let options = vec!["vers=4".to_owned(), "hard".to_owned()];
    let directory = dir.join("pod/volumes/kubernetes.io~nfs/data");
    Export::new(&source, true, options, directory).unwrap()
}

#[test]
fn a_pods_own_volume_is_as_it_says() {
    for (read_only, options) in [(json!(null), &[][..]), (json!(true), &["ro"])] {
        let source = json!({ "server": "server", "path": "/path", "readOnly": read_only });
        let export = Export::of_pod(&object(source), "/place".into()).unwrap();
        assert_eq!(export.source, "server:/path");
        assert_eq!(export.options, options);
        assert_eq!(export.read_only, !options.is_empty());
    }
}

#[test]
fn servers_and_options_are_as_the_program_takes_them() {
    for (server, wanted) in [
        ("nfs.example.com", Some("nfs.example.com:/a")),
        ("10.0.0.1", Some("10.0.0.1:/a")),
        ("fd00::1", Some("[fd00::1]:/a")),
        ("-oexec", None),
    ] {
        let source = object(json!({ "server": server, "path": "/a" }));
        assert_eq!(source_of(&source).ok().as_deref(), wanted, "{server}");
    }
    let volume = |annotations: serde_json::Value| -> PersistentVolume {
        object(json!({
            "metadata": { "annotations": annotations },
            "spec": { "mountOptions": ["vers=3", "hard", "hard"] },
        }))
    };
    let own = joined(options(&volume(json!({}))), true);
    assert_eq!(own, ["hard", "ro", "vers=3"]);
    let annotated = volume(json!({ OPTIONS_ANNOTATION: "soft,nolock" }));
    assert_eq!(joined(options(&annotated), false), ["nolock", "soft"]);
}

#[tokio::test]
async fn a_host_without_the_helper_is_told_in_the_programs_words() {
    let dir = tempfile::tempdir().unwrap();
    let say = "echo \"mount: $6: bad option\" >&2; exit 32";
    let export = export(dir.path());
    let error = mount(&programs(dir.path(), say, "exit 1"), &export)
        .await
        .unwrap_err();
    let (command, place) = (dir.path().join("mount"), export.directory.display());
    assert_eq!(
        error,
        format!(
            "mount failed: exit status 32\nMounting command: {}\nMounting arguments: -t nfs -o hard,ro,vers=4 server:/path {place}\nOutput: mount: {place}: bad option\n",
            command.display()
        )
    );
    assert!(!export.directory.exists());
    let none = Programs {
        mount: "/nowhere/mount".into(),
        ..Programs::default()
    };
    let error = mount(&none, &export).await.unwrap_err();
    let wanted = "mount failed: exec: \"/nowhere/mount\": executable file not found in $PATH\n";
    assert!(error.starts_with(wanted), "{error}");
}

/// As one that waits for its server does, with a program below it that holds on to the output.
#[tokio::test]
async fn nobody_waits_for_a_program_that_was_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let work = (place.as_path(), helper::Work::Mount);
    let wait = program(dir.path(), "wait", "sleep 1000 & echo begun; wait");
    let began = Instant::now();
    let patience = Duration::from_millis(300);
    let late = helper::run(&wait, &[], work, patience).await.unwrap_err();
    let Failure::Ended { how, output } = late else {
        panic!("{late:?}")
    };
    assert_eq!(
        (how.as_str(), output.as_str()),
        ("context deadline exceeded", "begun\n")
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    // One at a time; who loses interest has it killed.
    let long = Duration::from_secs(1_000);
    {
        let first = helper::run(&wait, &[], work, long);
        tokio::pin!(first);
        tokio::select! {
            _ = &mut first => panic!("it has ended"),
            () = tokio::time::sleep(patience) => {}
        }
        let second = helper::run(&wait, &[], work, long).await;
        assert!(matches!(second, Err(Failure::Busy)), "{second:?}");
        assert!(helper::is_mounting_below(dir.path()));
    }
    let gone = async {
        while helper::is_mounting_below(dir.path()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
    gone.expect("it is killed");
}

/// The helper mounts a directory in the place of an export.
#[tokio::test]
async fn what_is_mounted_is_unmounted_or_detached_when_its_server_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    let bind = format!("exec mount --bind {} \"$6\"", data.display());
    let export = export(dir.path());
    let pod_dir = dir.path().join("pod");
    for umount in ["exec umount \"$@\"", "exec sleep 1000"] {
        let programs = programs(dir.path(), &bind, umount);
        if let Err(error) = mount(&programs, &export).await {
            eprintln!("skipped: nothing can be mounted here: {error}");
            return;
        }
        // Once more: it is mounted.
        mount(&programs, &export).await.unwrap();
        let points = mount::below(&pod_dir).unwrap();
        assert_eq!(points, [export.directory.canonicalize().unwrap()]);
        let file = fs::read_to_string(export.directory.join("file"));
        assert_eq!(file.unwrap(), "content");
        let undone = teardown_with(&programs, &pod_dir).await;
        undone.unwrap();
        assert!(!mount::any_below(&pod_dir).unwrap());
        assert!(data.join("file").exists());
    }
}
