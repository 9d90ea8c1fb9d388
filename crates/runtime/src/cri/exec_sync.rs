//! Running a command to its end, for `ExecSync`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use knarr_cri::v1::ExecSyncResponse;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use super::status;
use crate::exec::Session;

/// Most output of each stream that ExecSync returns (the CRI's own limit); the rest is read and dropped.
const MAX_EXEC_SYNC_BYTES: usize = 16 << 20;
/// Kept at a time of all commands that run, bytes: what is beyond is dropped like what is beyond one's own limit.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// How long after an ExecSync's command has ended its output may stay open (a child may have kept it).
const EXEC_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a session to its end. `Err(None)` is the timeout.
pub async fn collect(
    mut session: Session,
    timeout: Duration,
) -> Result<ExecSyncResponse, Option<Status>> {
    let internal = |error: std::io::Error| Some(Status::internal(error.to_string()));
    let stdout = reader(session.stdout.take()).map_err(internal)?;
    let stderr = reader(session.stderr.take()).map_err(internal)?;
    let outputs = async { tokio::join!(read_capped(stdout), read_capped(stderr)) };
    tokio::pin!(outputs);
    let mut early = None;
    let run = async {
        loop {
            tokio::select! {
                code = &mut session.exit => return code,
                read = &mut outputs, if early.is_none() => early = Some(read),
            }
        }
    };
    let code = if timeout.is_zero() {
        run.await
    } else {
        match tokio::time::timeout(timeout, run).await {
            Ok(code) => code,
            Err(_) => {
                (session.kill)();
                return Err(None);
            }
        }
    };
    let exit_code = code.map_err(|error| Some(status(error)))?;
    let (stdout, stderr) = match early {
        Some(read) => read,
        None => tokio::time::timeout(EXEC_DRAIN_TIMEOUT, &mut outputs)
            .await
            .unwrap_or_default(),
    };
    Ok(ExecSyncResponse {
        stdout: stdout.bytes,
        stderr: stderr.bytes,
        exit_code,
    })
}

fn reader(fd: Option<OwnedFd>) -> std::io::Result<Option<tokio::net::unix::pipe::Receiver>> {
    fd.map(tokio::net::unix::pipe::Receiver::from_owned_fd)
        .transpose()
}

/// Output that was kept, and its part of what all may keep.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    permits: Option<SemaphorePermit<'static>>,
    /// There was no room once: what comes after that would not belong to it.
    is_cut: bool,
}

impl Kept {
    fn push(&mut self, budget: &'static Semaphore, bytes: &[u8]) {
        let room = MAX_EXEC_SYNC_BYTES - self.bytes.len();
        let bytes = &bytes[..bytes.len().min(room)];
        let permits = u32::try_from(bytes.len())
            .ok()
            .and_then(|count| budget.try_acquire_many(count).ok());
        let Some(permits) = permits.filter(|_| !self.is_cut) else {
            self.is_cut = true;
            return;
        };
        match &mut self.permits {
            Some(all) => all.merge(permits),
            none => *none = Some(permits),
        }
        self.bytes.extend_from_slice(bytes);
    }
}

async fn read_capped(from: Option<tokio::net::unix::pipe::Receiver>) -> Kept {
    static BUDGET: Semaphore = Semaphore::const_new(MAX_KEPT_BYTES);
    let mut kept = Kept::default();
    let Some(mut from) = from else { return kept };
    let mut chunk = vec![0; 32 << 10];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        kept.push(&BUDGET, &chunk[..count]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_say_has_a_limit_together() {
        static BUDGET: Semaphore = Semaphore::const_new(10);
        let (mut first, mut second) = (Kept::default(), Kept::default());
        first.push(&BUDGET, b"123456");
        second.push(&BUDGET, b"1234");
        second.push(&BUDGET, b"5");
        assert_eq!((first.bytes.len(), second.bytes.len()), (6, 4));
        drop(first);
        second.push(&BUDGET, b"6");
        assert_eq!(second.bytes, b"1234", "something is missing within");
        let mut third = Kept::default();
        third.push(&BUDGET, b"123456");
        assert_eq!(third.bytes.len(), 6);
    }
}
