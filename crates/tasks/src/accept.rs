//! Connections, one after the other.

use std::{future::Future, io, time::Duration};

/// After a failure (there are no file descriptors, say), so long until the next try: what is missing comes back by itself, and
/// a loop without a pause would take a processor until then.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection that `next` gives. Failures are told and waited out. May be given up at any time.
///
/// `what` is accepted, for the log: `a connection to the API`.
pub async fn accept<T, F>(what: &str, next: impl Fn() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match next().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept {what}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_waited_out() {
        let (started, tries) = (Instant::now(), Cell::new(0));
        let accepted = accept("a connection", || {
            tries.set(tries.get() + 1);
            let answer = match tries.get() {
                3 => Ok("a stream"),
                _ => Err(io::Error::other("no file descriptors")),
            };
            std::future::ready(answer)
        });
        assert_eq!(accepted.await, "a stream");
        assert_eq!((tries.get(), started.elapsed()), (3, PAUSE * 2));
    }
}
