//! What the plugin tells whoever enforces network policies on the node: before a pod starts, where it will be, and when an
//! address is nobody's any more.
//!
//! One line of JSON each way over a Unix socket. The answer comes when the pod's policies are in force.

use std::{io, net::IpAddr, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// Longest line that either side takes.
pub const LINE_LIMIT_BYTES: u64 = 4 << 10;
/// Longest wait for the answer; the other side gives up earlier.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A pod gets the address.
    Add,
    /// It has it no longer.
    Remove,
}

/// Something about an address of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    pub change: Change,
    pub address: IpAddr,
    /// The pod's uid.
    pub pod: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Why the pod must not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tells, and waits until the consequences are there.
///
/// # Errors
/// When nobody listens or answers, or the answer is that it cannot be.
pub async fn tell(socket: &Path, notice: &Notice) -> io::Result<()> {
    let answer = timeout(ANSWER_TIMEOUT, exchange(socket, notice)).await??;
    match answer.error {
        Some(error) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}

async fn exchange(socket: &Path, notice: &Notice) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(notice)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    let limited = (&mut stream).take(LINE_LIMIT_BYTES);
    BufReader::new(limited).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
