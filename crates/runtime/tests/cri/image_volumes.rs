//! Images as volumes of containers.

use knarr_cri::v1::*;
use tonic::Code;

use crate::common::{TestRuntime, able, archive, digest, file, layer, shell};
use crate::{WAIT, assert_nothing_left};

/// An image that nothing is run from.
const DATA: &str = "docker.io/library/data:test";

/// Brings it into the store; its id.
fn import(test: &TestRuntime) -> String {
    let content = layer(|tar| {
        file(tar, "top.txt", b"top");
        file(tar, "sub/inner.txt", b"inner");
        for (name, target) in [("link", "/sub"), ("out", "../../../../..")] {
            let mut header = header(0o777, 0);
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, target).unwrap();
        }
        let script = "#!/bin/sh\necho ran\n";
        let mut header = header(0o755, script.len());
        tar.append_data(&mut header, "program", script.as_bytes())
            .unwrap();
    });
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&content))] },
    })
    .to_string();
    let path = test.directory.path().join("data.tar");
    std::fs::write(&path, archive("data:test", &config, &[content])).unwrap();
    test.store.import_tar(&path).unwrap();
    test.store.find(DATA).unwrap().id
}

fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn volume(path: &str, image: &str, sub_path: &str) -> Mount {
    Mount {
        container_path: path.to_owned(),
        readonly: true,
        image: Some(ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        }),
        image_sub_path: sub_path.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_read_as_a_directory() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let id = import(&test);
    let pod = test.pod("volumes");
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("main", WAIT);
    let own = config.image.clone().unwrap().image;
    config.mounts = vec![
        volume("/data", &id, ""),
        volume("/data/sub", DATA, "sub"),
        volume("/again", DATA, ""),
        volume("/link", &id, "link"),
        volume("/out", &id, "out"),
        volume("/own", &own, ""),
    ];
    config.mounts[2].mount_options = vec!["noexec".to_owned()];
    // Even who may mount can only read it.
    let linux = config.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().privileged = true;
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let write = "touch /data/x 2>/dev/null || echo no; mount -o remount,rw /data 2>/dev/null; touch /data/x 2>/dev/null || echo no";
    for (command, wanted) in [
        ("cat /data/top.txt", "top"),
        ("cat /data/sub/inner.txt", "inner"),
        ("cat /link/inner.txt", "inner"),
        // A link leads no further up than to the image's root.
        ("cat /out/top.txt", "top"),
        ("/data/program", "ran"),
        ("/again/program 2>/dev/null || echo no", "no"),
        (write, "no\nno"),
        // Layers over each other, as a container of it has them.
        (
            "test -e /own/etc/removed || cat /own/etc/group | grep web",
            "web:x:34:\nadm:x:4:web",
        ),
    ] {
        assert_eq!(test.output(&container, command).await, wanted, "{command}");
    }
    let status = test.status(&container).await;
    let image = status.mounts[1].image.clone().unwrap();
    assert_eq!((image.image.as_str(), image.image_ref), (DATA, id.clone()));
    let remove = RemoveImageRequest {
        image: Some(ImageSpec {
            image: DATA.to_owned(),
            ..Default::default()
        }),
    };
    let busy = test.images.remove_image(remove.clone()).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    test.restart().await;
    assert_eq!(test.output(&container, "cat /data/top.txt").await, "top");
    test.images.remove_image(remove.clone()).await.unwrap_err();
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
    test.images.remove_image(remove).await.unwrap();
    assert!(test.store.find(&id).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mounted_is_refused() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    import(&test);
    let pod = test.pod("refused");
    let sandbox = test.sandbox(pod).await;
    let with = |change: fn(&mut Mount)| {
        let mut mount = volume("/data", DATA, "");
        change(&mut mount);
        mount
    };
    for (mount, code, wanted) in [
        (
            with(|mount| mount.readonly = false),
            Code::InvalidArgument,
            "readonly must be true",
        ),
        (
            with(|mount| mount.host_path = "/".to_owned()),
            Code::InvalidArgument,
            "host_path must be empty",
        ),
        (
            volume("/data", "nowhere:1", ""),
            Code::NotFound,
            "image \"nowhere:1\" not found",
        ),
        (
            volume("/data", DATA, "missing"),
            Code::Unknown,
            "sub path \"missing\" of the image",
        ),
        (
            volume("/data", DATA, "top.txt"),
            Code::Unknown,
            "sub path \"top.txt\" of the image",
        ),
    ] {
        let mut config = shell("main", WAIT);
        config.mounts = vec![mount];
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(config),
            sandbox_config: None,
        };
        let error = test.runtime.create_container(request).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let text = error.message();
        // Kubelets look for the first word.
        assert!(
            text.starts_with("ImageVolumeMountFailed: mount /data: "),
            "{text}"
        );
        assert!(text.contains(wanted), "{text}");
    }
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}
