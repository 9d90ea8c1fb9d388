use std::{
    collections::HashMap,
    os::unix::fs::symlink,
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::json;

use super::*;
use crate::testing;

const MESSAGE: &str = "/dev/termination-log";
/// Longest that reading may take.
const LIMIT: Duration = Duration::from_secs(10);

struct Home {
    directory: tempfile::TempDir,
    config: Arc<Config>,
}

impl Home {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = Config {
            data_dir: directory.path().to_owned(),
            ..Config::default()
        };
        Ok(Self {
            directory,
            config: Arc::new(config),
        })
    }

    fn make(&self) -> io::Result<PathBuf> {
        let pod = testing::pod(json!({ "containers": [{ "name": "main" }] }));
        make(&self.config, &pod, "main")
    }
}

fn status(sources: &[&Path]) -> v1::ContainerStatus {
    let mount = |source: &&Path| v1::Mount {
        container_path: MESSAGE.to_owned(),
        host_path: source.display().to_string(),
        ..Default::default()
    };
    v1::ContainerStatus {
        labels: HashMap::from([
            (labels::OWNER_LABEL.to_owned(), Config::default().instance),
            (labels::POD_UID.to_owned(), "u1".to_owned()),
            (labels::CONTAINER_NAME.to_owned(), "main".to_owned()),
        ]),
        annotations: HashMap::from([(labels::MESSAGE_PATH.to_owned(), MESSAGE.to_owned())]),
        mounts: sources.iter().map(mount).collect(),
        started_at: 1,
        ..Default::default()
    }
}

#[test]
fn a_message_is_read_and_removed() -> io::Result<()> {
    let home = Home::new()?;
    let file = home.make()?;
    fs::write(&file, "x".repeat(2 * MESSAGE_BYTES))?;
    let status = status(&[&file]);
    assert_eq!(read(&home.config, &status), "x".repeat(MESSAGE_BYTES));
    remove(&home.config, &status)?;
    assert!(!file.exists());
    Ok(())
}

#[test]
fn a_volume_at_the_same_path_is_left_alone() -> io::Result<()> {
    let home = Home::new()?;
    let own = home.make()?;
    fs::write(&own, "own")?;
    let of_host = home.directory.path().join("shadow");
    fs::write(&of_host, "secret")?;
    assert_eq!(read(&home.config, &status(&[&of_host])), "");
    remove(&home.config, &status(&[&of_host]))?;
    assert_eq!(fs::read(&of_host)?, b"secret");
    assert_eq!(read(&home.config, &status(&[&of_host, &own])), "own");
    Ok(())
}

#[test]
fn what_is_no_file_is_no_message() -> io::Result<()> {
    let home = Home::new()?;
    let file = home.make()?;
    fs::remove_file(&file)?;
    let made = Command::new("mkfifo").arg(&file).status()?;
    assert!(made.success());
    let (config, fifo) = (home.config.clone(), status(&[&file]));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(read(&config, &fifo)));
    assert_eq!(receiver.recv_timeout(LIMIT), Ok(String::new()));
    fs::remove_file(&file)?;
    symlink("/etc/passwd", &file)?;
    assert_eq!(read(&home.config, &status(&[&file])), "");
    Ok(())
}
