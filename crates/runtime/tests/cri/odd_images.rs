//! Images as they are out there.

use knarr_cri::v1::*;

use crate::assert_nothing_left;
use crate::common::{TestRuntime, able, archive, busybox_layer, digest, file, layer, shell};

const ODD: &str = "docker.io/library/odd:test";

/// An image with the same empty layer three times, links to nothing where containers have mounts, and programs that cannot be
/// executed.
fn import(test: &TestRuntime) {
    let empty = layer(|_| {});
    let odd = layer(|tar| {
        for (name, target) in [
            ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
            ("etc/hostname", "/run/hostname"),
            ("etc/localtime", "/usr/share/zoneinfo/Somewhere"),
            ("data", "/srv/data"),
        ] {
            let mut header = header(0o777, 0);
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, target).unwrap();
        }
        let programs: [(&str, &[u8]); 3] = [
            ("bin/crlf", b"#!/bin/sh\r\necho ran\r\n"),
            ("bin/plain", b"echo ran\n"),
            // Of a machine that nobody has.
            (
                "bin/foreign",
                b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xff",
            ),
        ];
        for (name, content) in programs {
            let mut header = header(0o755, content.len());
            tar.append_data(&mut header, name, content).unwrap();
        }
        file(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
        file(tar, "volume/file", b"of the image\n");
    });
    let layers = [busybox_layer(), empty.clone(), odd, empty.clone(), empty];
    let ids = layers
        .iter()
        .map(|layer| format!("sha256:{}", digest(layer)));
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/bin"], "Volumes": { "/volume": {}, "/srv": {} } },
        "rootfs": { "type": "layers", "diff_ids": ids.collect::<Vec<_>>() },
    })
    .to_string();
    let path = test.directory.path().join("odd.tar");
    std::fs::write(&path, archive("odd:test", &config, &layers)).unwrap();
    test.store.import_tar(&path).unwrap();
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

fn odd(name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        image: Some(ImageSpec {
            image: ODD.to_owned(),
            ..Default::default()
        }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        args: Vec::new(),
        ..shell(name, "")
    }
}

fn bind(from: &std::path::Path, to: &str) -> Mount {
    Mount {
        host_path: from.display().to_string(),
        container_path: to.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_may_come_again_and_links_lead_to_nothing() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    import(&test);
    let pod = test.pod("odd");
    let sandbox = test.sandbox(pod).await;
    let zone = test.directory.path().join("zone");
    std::fs::write(&zone, "here").unwrap();
    let data = test.directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "content").unwrap();
    let script = "grep nameserver /etc/resolv.conf; cat /etc/hostname /etc/localtime /data/file; echo; echo $HOME";
    let mut config = odd("main", &["/bin/sh", "-c", script]);
    config.mounts = vec![bind(&zone, "/etc/localtime"), bind(&data, "/data")];
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    // The image knows no such user.
    security.run_as_user = Some(Int64Value { value: 99_999 });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    assert_eq!(test.exit(&container).await.exit_code, 0);
    let log = test.log("main.log");
    assert_eq!(
        log,
        [
            "stdout F nameserver 10.43.0.10",
            "stdout F odd",
            "stdout F herecontent",
            "stdout F /",
        ]
    );
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_says_so() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    import(&test);
    let pod = test.pod("odd");
    let sandbox = test.sandbox(pod).await;
    for (name, command, wanted) in [
        (
            "crlf",
            "/bin/crlf",
            "exec /bin/crlf: no such file or directory",
        ),
        ("plain", "/bin/plain", "exec /bin/plain: exec format error"),
        ("foreign", "foreign", "exec /bin/foreign: exec format error"),
    ] {
        let container = test.create(&sandbox, odd(name, &[command])).await;
        test.start_container(&container).await.unwrap();
        assert_eq!(test.exit(&container).await.exit_code, 255, "{name}");
        let log = test.log(&format!("{name}.log"));
        assert_eq!(log, [format!("stderr F {wanted}")]);
    }
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_declares_as_a_volume_can_be_written_to() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    import(&test);
    let pod = test.pod("odd");
    let sandbox = test.sandbox(pod).await;
    let script =
        "cat /volume/file; echo x > /volume/file && echo written; echo x > /etc/file || echo not";
    for name in ["first", "second"] {
        let mut config = odd(
            name,
            &["/bin/sh", "-c", &format!("{{ {script}; }} 2>/dev/null")],
        );
        let linux = config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().readonly_rootfs = true;
        let container = test.create(&sandbox, config).await;
        test.start_container(&container).await.unwrap();
        assert_eq!(test.exit(&container).await.exit_code, 0);
        let log = test.log(&format!("{name}.log"));
        assert_eq!(
            log,
            ["stdout F of the image", "stdout F written", "stdout F not"]
        );
    }
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_may_have_no_content() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [] },
    })
    .to_string();
    let path = test.directory.path().join("odd.tar");
    std::fs::write(&path, archive("odd:test", &config, &[])).unwrap();
    test.store.import_tar(&path).unwrap();
    let pod = test.pod("odd");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, odd("none", &["/program"])).await;
    let error = test.start_container(&container).await.unwrap_err();
    assert!(error.message().contains("/program"), "{error}");
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}
