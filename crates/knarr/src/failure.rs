//! How a failed command ends: one line that says what went wrong and, where we know, what to do.

use std::{process, thread, time::Duration};

use knarr_tasks::Failure;

use crate::logging;

/// How the line begins by which a process says why it ends.
pub const PREFIX: &str = "knarr: ";
/// Longest wait for the last lines to be taken: somebody who has stopped reading must not keep the process.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);
const _: () = assert!(LAST_WORDS_TIMEOUT.as_millis() > logging::FLUSH_TIMEOUT.as_millis());

/// Ends the process because a part of the cluster has panicked, or has ended and must not: what it left behind cannot be
/// trusted. Containers go on, and the next start finds them.
pub fn end(failure: &Failure) {
    let failure = failure.to_string();
    // By another thread, since this one may be in the middle of a line of its own.
    let telling = thread::Builder::new().spawn(move || {
        tracing::error!(failure, "a part of the cluster failed");
        eprintln!("{PREFIX}a part of the cluster failed: {failure}");
        logging::flush();
        process::exit(1)
    });
    if telling.is_ok() {
        thread::sleep(LAST_WORDS_TIMEOUT);
    }
    process::exit(1)
}

/// The last line of a process's log in which it says why it ended.
pub fn last_words(log: &str) -> Option<String> {
    let said = |line: &str| line.strip_prefix(PREFIX).map(str::to_owned);
    log.lines().rev().find_map(said)
}

/// The error with its causes in one line, each said once.
pub fn line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        // Some errors repeat their source in their own text.
        if !parts.iter().any(|said| said.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_said_once_and_in_one_line() {
        let inner = anyhow!("address\nin use");
        let error = Err::<(), _>(inner)
            .context("cannot listen: address in use")
            .context("no server");
        assert_eq!(
            super::line(&error.unwrap_err()),
            "no server: cannot listen: address in use"
        );
    }
}
