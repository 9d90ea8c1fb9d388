use super::*;

const OUTER: &str =
    "exec process failed with error error in executing process : failed to prepare rootfs";
const TOLD: &str = "failed to prepare rootfs";

#[test]
fn the_last_cause_is_told_with_what_to_do() {
    let log = "failed to canonicalize \"/nowhere\": No such file or directory (os error 2)\t\n\
        failed to mount Mount { destination: \"/data\", typ: Some(\"bind\"), source: Some(\"/nowhere\"), options: Some([\"rbind\"]), uid_mappings: None, gid_mappings: None }: io error\t\n\
        failed to prepare rootfs\tMount(Io(Os { code: 2, kind: NotFound, message: \"No such file or directory\" }))\n\
        failed to initialize container process: failed to prepare rootfs\t\n";
    assert_eq!(
        explain(OUTER, log),
        format!(
            "{TOLD}: failed to mount /nowhere on /data: failed to canonicalize \"/nowhere\": No such file or directory \
             (os error 2) (what a volume should show is not there: look at the pod's volumes)"
        )
    );
}

#[test]
fn numbers_become_words() {
    let log = "failed to mount Mount { destination: \"/etc/passwd\", typ: None, source: Some(\"/src\"), options: None }: syscall\t\n\
        failed to prepare rootfs\tMount(Syscall(Nix(ENOTDIR)))\n";
    let text = explain(OUTER, log);
    let wanted = "failed to mount /src on /etc/passwd: Not a directory (a directory cannot be mounted on a file";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn without_a_log_the_error_stays_as_it_is() {
    assert_eq!(explain("exec failed", ""), "exec failed");
    assert_eq!(explain("exec failed", "exec failed\t\n\t\n"), "exec failed");
}

#[test]
fn long_logs_are_cut() {
    let log: String = (0..10_000).map(|i| format!("ünmöglich {i}\t\n")).collect();
    assert!(explain("x", &log).len() <= TEXT_LIMIT_BYTES);
}

#[test]
fn only_the_processes_of_a_start_are_listened_to() {
    let dir = std::env::temp_dir().join(format!("knarr-diagnosis-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let log = Log::begin(&dir).unwrap();
    tracing::error!("of this process");
    let pid = crate::sys::fork_with(|| {
        tracing::error!(err = ?Errno::EROFS, "of another process");
        0
    })
    .unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    let text = log.explain("it failed");
    fs::remove_dir_all(&dir).unwrap();
    assert!(
        text.starts_with("it failed: of another process: Read-only file system"),
        "{text}"
    );
}
