use super::*;

#[test]
fn the_second_instance_learns_of_the_first() {
    let dir = std::env::temp_dir().join(format!("knarr-instance-{}", std::process::id()));
    make_data_dir(&dir).unwrap();
    let mut first = Instance::acquire(&dir).unwrap();
    let note = Note {
        pid: std::process::id().cast_signed(),
        api: "https://127.0.0.1:6443".to_owned(),
        kubeconfig: dir.join("admin.kubeconfig"),
        node_name: "a".to_owned(),
        cgroup_root: "/knarr".into(),
        foreign_runtime: Some(ForeignRuntime {
            endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            owner: dir.display().to_string(),
        }),
    };
    first.publish(&note).unwrap();
    let read = Note::read(&dir).unwrap().unwrap();
    assert_eq!(read.foreign_runtime, note.foreign_runtime);
    let error = Instance::acquire(&dir).err().unwrap().to_string();
    assert!(
        error.contains(&format!("pid {}, API https://127.0.0.1:6443", note.pid)),
        "{error}"
    );
    drop(first);
    Instance::acquire(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_note_of_an_older_version_can_be_read() {
    let text = r#"{"pid":1,"api":"","kubeconfig":"","node_name":"a","cgroup_root":"/knarr"}"#;
    let note: Note = serde_json::from_str(text).unwrap();
    assert_eq!(note.foreign_runtime, None);
}
