use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::records::ContainerRecord;
use knarr_shim::protocol::ExitRecord;

/// Ends of containers that are looked at while they come: enough of them for one between two looks.
const ENDS: usize = 5_000;

fn running() -> Arc<Container> {
    let record = ContainerRecord {
        id: "c".to_owned(),
        sandbox: "s".to_owned(),
        config: v1::ContainerConfig::default(),
        image: String::new(),
        created_at: 1,
        cgroup: PathBuf::new(),
        private_pid: true,
        stop_signal: libc::SIGTERM,
        log_path: None,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
    };
    let container = Container::new(record, PathBuf::new());
    container.running(7, 2);
    Arc::new(container)
}

/// A kubelet that reads such a torn status believes that a command which failed has succeeded, for good.
#[test]
fn an_end_is_told_with_its_exit_code_or_not_at_all() {
    let all: Vec<_> = (0..ENDS).map(|_| running()).collect();
    let ending = all.clone();
    let exit = ExitRecord {
        exit_code: 42,
        started_at: 2,
        finished_at: 3,
        oom_killed: false,
    };
    let looked_at = Arc::new(AtomicUsize::new(0));
    let looking = Arc::clone(&looked_at);
    let ends = thread::spawn(move || {
        for (index, container) in ending.iter().enumerate() {
            while looking.load(Ordering::Acquire) < index {
                thread::yield_now();
            }
            container.exited(&exit);
        }
    });
    for (index, container) in all.iter().enumerate() {
        looked_at.store(index, Ordering::Release);
        loop {
            let told = status_now(container, String::new(), String::new());
            if told.state() == v1::ContainerState::ContainerExited {
                let end = (told.exit_code, told.finished_at, told.reason.as_str());
                assert_eq!(end, (42, 3, "Error"), "of end {index}");
                break;
            }
        }
    }
    ends.join().unwrap();
}
