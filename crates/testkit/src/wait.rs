//! Waits for something to become so.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long between two looks, at first and at most: quick things are seen quickly, slow ones are left in peace.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Calls `look` until it succeeds; its value. After `deadline` the last error, with what was waited for.
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() >= deadline => {
                return Err(error)
                    .with_context(|| format!("waited {}s in vain: {what}", deadline.as_secs()));
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`eventually`], for asynchronous looks.
#[cfg(feature = "client")]
pub async fn eventually_async<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() >= deadline => {
                return Err(error)
                    .with_context(|| format!("waited {}s in vain: {what}", deadline.as_secs()));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Fails when `what` stops being so within `time`: for things that must not happen.
pub fn hold(time: Duration, what: &str, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < time {
        if let Err(error) = look() {
            let after = started.elapsed().as_millis();
            bail!("no longer so after {after} ms: {what}: {error:#}");
        }
        thread::sleep(LONGEST_PAUSE.min(time));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_with_success_or_with_the_last_error() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), "three looks", || {
            looks += 1;
            if looks < 3 {
                bail!("look {looks}")
            } else {
                Ok(looks)
            }
        });
        assert_eq!(value.unwrap(), 3);

        let error = eventually(Duration::ZERO, "the moon", || -> Result<()> {
            bail!("clouds")
        });
        assert_eq!(
            format!("{:#}", error.unwrap_err()),
            "waited 0s in vain: the moon: clouds"
        );
    }
}
