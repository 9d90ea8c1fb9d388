use std::os::unix::fs::symlink;

use super::*;

const PERIOD: Duration = Duration::from_secs(20);

fn manifest(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: m, image: i}}]}}}}"
    )
}

fn names(pods: Option<Vec<Pod>>) -> Option<Vec<String>> {
    let names = pods?.into_iter().filter_map(|pod| pod.metadata.name);
    Some(names.collect())
}

#[test]
fn every_file_is_a_pod_unless_it_is_hidden_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("2.yaml", &manifest("b"));
    write("1.json", &manifest("a"));
    write(".hidden.yaml", &manifest("hidden"));
    write("broken.yaml", "a: [");
    std::fs::create_dir(dir.path().join("3.d")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let large = File::create(dir.path().join("large")).unwrap();
    large.set_len(MAX_MANIFEST_BYTES + 1).unwrap();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), manifest("c")).unwrap();
    symlink(elsewhere.path(), dir.path().join("4.yaml")).unwrap();
    let mut reader = Reader::new(dir.path().to_owned(), "n");
    let all = ["a-n", "b-n", "c-n"].map(str::to_owned).to_vec();
    assert_eq!(names(reader.read(true)), Some(all));
    // One file alone will do.
    let mut one = Reader::new(dir.path().join("2.yaml"), "n");
    assert_eq!(names(one.read(true)), Some(vec!["b-n".to_owned()]));
}

#[test]
fn a_file_that_is_being_written_keeps_its_pod_until_the_next_whole_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let mut reader = Reader::new(dir.path().to_owned(), "n");
    std::fs::write(&file, "").unwrap();
    assert_eq!(names(reader.read(false)), Some(vec![]));
    std::fs::write(&file, manifest("a")).unwrap();
    let first = reader.read(false).unwrap();
    std::fs::write(&file, "").unwrap();
    assert_eq!(reader.read(false).unwrap(), first);
    std::fs::write(&file, "a: [").unwrap();
    assert_eq!(reader.read(false).unwrap(), first);
    assert_eq!(names(reader.read(true)), Some(vec![]));
    std::fs::write(&file, manifest("a")).unwrap();
    assert_eq!(reader.read(false).unwrap(), first);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(names(reader.read(false)), Some(vec![]));
}

#[test]
fn a_directory_that_is_not_there_has_no_pods() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(dir.path().join("later"), "n");
    assert_eq!(names(reader.read(true)), Some(vec![]));
}

#[tokio::test]
async fn changes_are_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let later = dir.path().join("later");
    let (sender, mut found) = tokio::sync::mpsc::unbounded_channel();
    let deliver: Deliver = std::sync::Arc::new(move |pods| sender.send(names(Some(pods))).unwrap());
    let (path, directory) = (later.clone(), later.clone());
    let running = tokio::spawn(async move { run(path, "n", PERIOD, deliver).await });
    let mut until = async |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let wait = async { while found.recv().await.unwrap().as_ref() != Some(&wanted) {} };
        // Less than the period: nobody waits for that.
        let waited = tokio::time::timeout(PERIOD / 2, wait).await;
        assert!(waited.is_ok(), "{wanted:?} were not found");
    };
    until(&[]).await;
    std::fs::create_dir(&later).unwrap();
    until(&[]).await;
    std::fs::write(directory.join("a"), manifest("a")).unwrap();
    until(&["a-n"]).await;
    std::fs::write(directory.join(".b"), manifest("b")).unwrap();
    std::fs::rename(directory.join(".b"), directory.join("b")).unwrap();
    until(&["a-n", "b-n"]).await;
    std::fs::remove_file(directory.join("a")).unwrap();
    until(&["b-n"]).await;
    std::fs::remove_dir_all(&directory).unwrap();
    until(&[]).await;
    running.abort();
}
