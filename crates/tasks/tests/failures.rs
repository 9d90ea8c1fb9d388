//! What a process does whose tasks fail. Each case is this program again: a failure is for a whole process.

use std::{
    env,
    process::{Command, Output},
    thread,
    time::Duration,
};

use knarr_tasks::{Failure, Tasks};
use tokio_util::sync::CancellationToken;

/// Set for the process that fails; names how.
const CASE: &str = "KNARR_TASKS_CASE";
const EXIT_CODE: i32 = 7;
const LONGEST: Duration = Duration::from_secs(60);

#[expect(clippy::print_stdout, reason = "what the other process reads")]
fn end(failure: &Failure) {
    println!("\nfailed: {failure}");
    std::process::exit(EXIT_CODE);
}

/// Runs one case in a process of its own.
fn run(case: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_fails", "--nocapture"])
        .env(CASE, case)
        .output()
        .unwrap()
}

/// Not a test of its own: what [`run`] starts.
#[tokio::test]
async fn the_process_that_fails() {
    let Ok(case) = env::var(CASE) else { return };
    knarr_tasks::on_failure(end);
    let token = CancellationToken::new();
    let tasks = Tasks::new(token.clone());
    match case.as_str() {
        "task" => drop(tasks.spawn("the sweeper", async { panic!("no\nroom") })),
        "kept" => tasks.keep("the watcher", async { panic!("gone") }),
        "end" => tasks.keep("the feed", async {}),
        "detached" => drop(knarr_tasks::spawn("a connection", async { panic!("odd") })),
        "blocking" => drop(tasks.spawn("a reader", async {
            let _ = tokio::task::spawn_blocking(|| panic!("in a call")).await;
        })),
        "thread" => drop(
            thread::Builder::new()
                .name("writer".into())
                .spawn(|| panic!("x")),
        ),
        "stopped" => {
            let stopped = token.clone();
            tasks.keep("the loop", async move { stopped.cancelled().await });
            drop(tasks.spawn("a job", async {}));
            token.cancel();
            tasks.stopped().await;
            return;
        }
        "caught" => {
            let answer = knarr_tasks::caught(async { panic!("odd request") }).await;
            let failure = Result::<(), _>::unwrap_err(answer).to_string();
            assert!(failure.ends_with("odd request"), "{failure}");
            return;
        }
        "deep" => {
            // Beside a request, whose own panics are caught: the other thread's have to be as well.
            let answer = knarr_tasks::caught(async {
                knarr_tasks::caught_on_stack(1 << 20, || panic!("odd document"))
            });
            let failure = Result::<(), _>::unwrap_err(answer.await.unwrap()).to_string();
            assert!(failure.ends_with("odd document"), "{failure}");
            return;
        }
        other => unreachable!("no case {other}"),
    }
    tokio::time::sleep(LONGEST).await;
}

#[test]
fn a_failure_ends_the_process_with_one_line_that_names_the_task() {
    let here = file!().rsplit('/').next().unwrap();
    for (case, start, message) in [
        ("task", "the sweeper panicked at ", "no room"),
        ("kept", "the watcher panicked at ", "gone"),
        ("end", "the feed ended by itself", ""),
        ("detached", "a connection panicked at ", "odd"),
        ("blocking", "tokio-r", "in a call"),
        ("thread", "writer panicked at ", "x"),
    ] {
        let output = run(case);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(EXIT_CODE), "{case}: {text}");
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("failed: "))
            .collect();
        let [line] = lines[..] else {
            panic!("{case}: {text}")
        };
        assert!(
            line.starts_with(start) && line.ends_with(message),
            "{case}: {line}"
        );
        assert!(message.is_empty() || line.contains(here), "{case}: {line}");
    }
}

#[test]
fn what_is_no_failure_ends_nothing() {
    for case in ["stopped", "caught", "deep"] {
        let output = run(case);
        assert!(output.status.success(), "{case}: {output:?}");
    }
}
