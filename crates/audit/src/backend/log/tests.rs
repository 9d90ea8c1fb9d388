use std::fs;

use super::*;

fn options(path: PathBuf) -> LogOptions {
    LogOptions {
        path,
        max_size_megabytes: 1,
        max_age_days: 0,
        max_backups: 1,
        mode: Mode::Blocking,
        compress: false,
        buffer: 10,
        truncation: None,
    }
}

#[test]
fn lines_are_never_torn_by_a_rotation() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("new/audit.log");
    let mut log = LogFile::open(&options(path.clone())).expect("a log");
    let line = |n: usize| format!("{{\"n\":\"{}\"}}\n", n.to_string().repeat(400_000)).into_bytes();
    for n in 0..6 {
        log.write(&[line(n)]).expect("it is written");
    }
    let read = |path: &Path| fs::read(path).expect("a file");
    assert_eq!(read(&path), [line(4), line(5)].concat());
    let entries = fs::read_dir(directory.path().join("new")).expect("a directory");
    assert_eq!(entries.count(), 2, "the log and one rotated file");
}

#[test]
fn one_line_may_be_larger_than_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("audit.log");
    let mut log = LogFile::open(&options(path.clone())).expect("a log");
    let line = vec![b'x'; 2 << 20];
    log.write(&[line.clone(), line.clone()])
        .expect("they are written");
    assert_eq!(fs::read(&path).expect("a file"), line);
}

#[test]
fn a_line_has_a_type() {
    let event = Bytes::from_static(b"{\"level\":\"Metadata\"}");
    let lines = lines(&[event]);
    let wanted = "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\"}\n";
    assert_eq!(lines, [wanted.as_bytes()]);
}

#[test]
fn a_log_that_is_a_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = backend(&options(directory.path().to_owned()));
    assert!(matches!(opened.map(drop), Err(Error::Log { .. })));
}
