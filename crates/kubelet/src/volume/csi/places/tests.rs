use serde_json::json;

use super::*;

fn places(home: &Path) -> Places {
    Places::new(&Config {
        data_dir: home.to_owned(),
        ..Config::default()
    })
}

fn handle() -> Handle {
    Handle {
        driver: "hostpath.csi.k8s.io".to_owned(),
        id: "vol-1".to_owned(),
    }
}

fn data(handle: &Handle) -> Data {
    Data {
        driver_name: handle.driver.clone(),
        volume_handle: handle.id.clone(),
        name: "pv".to_owned(),
        node_name: "n1".to_owned(),
        attachment: handle.attachment("n1"),
        volume_lifecycle_mode: Some(Lifecycle::Persistent),
    }
}

#[test]
fn names_and_paths_are_upstreams() {
    let places = places(Path::new("/d"));
    let handle = handle();
    assert_eq!(
        handle.attachment("n1"),
        "csi-ffffc29a669717b61299488392f67014c84daf009b3c45d06bb6627113f72dbe"
    );
    assert_eq!(
        handle.unique_name(),
        "kubernetes.io/csi/hostpath.csi.k8s.io^vol-1"
    );
    assert_eq!(
        inline_handle("u1", "data"),
        "csi-394e2f1c7e9d97fca241351d1f3fe5e473d332141cbc3a61861a8e3a8a0caf84"
    );
    let plugin = "/d/kubelet/plugins/kubernetes.io/csi";
    let hash = "d2e8363faaac7ae76def3b14091d8eb5755f6b92e9531627aeec833a8731cc49";
    let device = places.device("pv");
    for (path, wanted) in [
        (
            places.staging(&handle),
            format!("{plugin}/hostpath.csi.k8s.io/{hash}/globalmount"),
        ),
        (
            places.pod_volume("u1", "pv").target(),
            "/d/kubelet/pods/u1/volumes/kubernetes.io~csi/pv/mount".to_owned(),
        ),
        (
            places.pod_device("u1", "pv"),
            "/d/kubelet/pods/u1/volumeDevices/kubernetes.io~csi/pv".to_owned(),
        ),
        (
            device.staging.clone(),
            format!("{plugin}/volumeDevices/staging/pv"),
        ),
        (
            device.publish.join("u1"),
            format!("{plugin}/volumeDevices/publish/pv/u1"),
        ),
        (device.data_dir(), format!("{plugin}/volumeDevices/pv/data")),
    ] {
        assert_eq!(path, Path::new(&wanted));
    }
}

#[test]
fn data_is_written_as_upstream_writes_it() {
    let home = tempfile::tempdir().unwrap();
    let data = data(&handle());
    save(home.path(), &data).unwrap();
    let text = fs::read(home.path().join("vol_data.json")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let wanted = json!({
        "driverName": "hostpath.csi.k8s.io", "volumeHandle": "vol-1", "specVolID": "pv", "nodeName": "n1",
        "attachmentID": "csi-ffffc29a669717b61299488392f67014c84daf009b3c45d06bb6627113f72dbe",
        "volumeLifecycleMode": "Persistent",
    });
    assert_eq!(written, wanted);
    assert_eq!(load(home.path()).unwrap(), Some(data));
    // What upstream writes of a staged volume.
    let little = json!({ "driverName": "d", "volumeHandle": "v" });
    fs::write(home.path().join("vol_data.json"), little.to_string()).unwrap();
    let read = load(home.path()).unwrap().unwrap();
    assert_eq!(
        (read.handle().driver, read.handle().id),
        ("d".to_owned(), "v".to_owned())
    );
    fs::write(home.path().join("vol_data.json"), "{").unwrap();
    assert!(
        load(home.path())
            .unwrap_err()
            .to_string()
            .contains("is damaged")
    );
    assert_eq!(load(&home.path().join("none")).unwrap(), None);
}

#[test]
fn what_lies_on_disk_is_found() {
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    assert_eq!(places.of_pods().unwrap(), []);
    assert_eq!(places.all_staged().unwrap(), []);
    let handle = handle();
    save(&places.pod_volume("u1", "pv").dir, &data(&handle)).unwrap();
    save(&places.staged(&handle), &data(&handle)).unwrap();
    // A directory that was made and nothing else.
    make(&places.pod_volume("u2", "other").dir).unwrap();
    let device = Handle {
        id: "disk".to_owned(),
        ..handle.clone()
    };
    save(&places.device("block").data_dir(), &data(&device)).unwrap();
    let link = places.pod_device("u2", "block");
    make(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    let found = places.of_pods().unwrap();
    let told: Vec<(&str, &str, bool, Handle)> = found
        .iter()
        .map(|one| {
            (
                one.uid.as_str(),
                one.name.as_str(),
                one.is_device,
                one.data.handle(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("u1", "pv", false, handle.clone()),
            ("u2", "block", true, device.clone()),
        ]
    );
    let staged = places.all_staged().unwrap();
    assert_eq!(staged, [(handle, None), (device, Some("block".to_owned()))]);
}

#[test]
fn data_of_others_is_never_removed() {
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    let volume = places.pod_volume("u1", "pv");
    save(&volume.dir, &data(&handle())).unwrap();
    fs::create_dir(volume.target()).unwrap();
    fs::write(volume.target().join("file"), "precious").unwrap();
    assert!(remove(&volume.target()).is_err());
    assert!(load(&volume.dir).unwrap().is_some());
    fs::remove_file(volume.target().join("file")).unwrap();
    remove(&volume.target()).unwrap();
    assert!(!volume.dir.exists());
    remove(&volume.target()).unwrap();
}
