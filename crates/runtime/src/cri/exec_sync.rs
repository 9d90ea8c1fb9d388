//! Running a command to its end, for `ExecSync`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use knarr_cri::v1::ExecSyncResponse;
use tokio::io::AsyncReadExt;
use tonic::Status;

use super::status;
use crate::exec::Session;

/// Most output of each stream that ExecSync returns (the CRI's own limit); the rest is read and dropped.
const MAX_EXEC_SYNC_BYTES: usize = 16 << 20;
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
        stdout,
        stderr,
        exit_code,
    })
}

fn reader(fd: Option<OwnedFd>) -> std::io::Result<Option<tokio::net::unix::pipe::Receiver>> {
    fd.map(tokio::net::unix::pipe::Receiver::from_owned_fd)
        .transpose()
}

async fn read_capped(from: Option<tokio::net::unix::pipe::Receiver>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return kept };
    let mut chunk = vec![0; 32 << 10];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        let room = MAX_EXEC_SYNC_BYTES - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
    kept
}
