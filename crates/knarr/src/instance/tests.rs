use super::*;

#[test]
fn the_second_instance_learns_of_the_first() {
    let dir = std::env::temp_dir().join(format!("knarr-instance-{}", std::process::id()));
    make_data_dir(&dir).unwrap();
    let mut first = Instance::acquire(&dir).unwrap();
    let record = Record {
        ready: true,
        pid: std::process::id().cast_signed(),
        api: "https://127.0.0.1:6443".to_owned(),
        kubeconfig: Some(dir.join("admin.kubeconfig")),
        cgroup_root: "/knarr/abcdefgh".into(),
        network: Some(NetworkNamespace::current().unwrap()),
        root_dir: None,
        foreign_runtime: Some(ForeignRuntime {
            endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            owner: dir.display().to_string(),
        }),
    };
    first.publish(&record).unwrap();
    let read = Record::read(&dir).unwrap().unwrap();
    assert!(read.lives(&dir));
    assert_eq!(read.network, record.network);
    assert_eq!(read.foreign_runtime, record.foreign_runtime);
    let error = Instance::acquire(&dir).err().unwrap().to_string();
    assert!(
        error.contains(&format!("pid {}, API https://127.0.0.1:6443", record.pid)),
        "{error}"
    );
    drop(first);
    assert!(
        !read.lives(&dir),
        "the process is there, but not the instance"
    );
    Instance::acquire(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_identity_stays() {
    let dir = std::env::temp_dir().join(format!("knarr-identity-{}", std::process::id()));
    make_data_dir(&dir).unwrap();
    let dir = dir.as_path();
    assert_eq!(identity(dir).unwrap(), None);
    let id = Instance::acquire(dir).unwrap().identity(dir).unwrap();
    assert_eq!(identity(dir).unwrap(), Some(id));
    assert_eq!(Instance::acquire(dir).unwrap().identity(dir).unwrap(), id);
    fs::write(dir.join(IDENTITY), "torn").unwrap();
    let error = Instance::acquire(dir).unwrap().identity(dir).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_namespace_can_be_found() {
    let current = NetworkNamespace::current().unwrap();
    assert!(current.find().is_some());
    let gone = NetworkNamespace {
        device: 0,
        ..current
    };
    assert_eq!(gone.find(), None);
}

#[test]
fn a_note_of_an_older_version_can_be_read() {
    let text = r#"{"pid":1,"api":"","kubeconfig":"","node_name":"a","cgroup_root":"/knarr"}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    assert_eq!(record.foreign_runtime, None);
}
