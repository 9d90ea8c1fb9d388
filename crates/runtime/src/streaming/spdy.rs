//! SPDY/3.1, the server's side, as far as Kubernetes clients speak it.

mod connection;
mod dictionary;
pub mod frame;
pub mod headers;
mod table;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub use connection::{Accept, Incoming, connect};
pub use table::Credits;

use super::Timeouts;
use super::remote_command::{self, Command, Streams, Wanted};
use super::status::Format;
use crate::exec::Executor;

/// How long a client may take to close after the session has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Runs a connection's driver and the session over it: the driver's end ends the session; after the session's end, which
/// drops all its streams, the driver has a while to tell the client and to see it go.
pub async fn together(driver: impl Future<Output = ()>, session: impl Future<Output = ()>) {
    tokio::pin!(driver);
    tokio::select! {
        () = &mut driver => {}
        () = session => {
            if tokio::time::timeout(LINGER, driver).await.is_err() {
                tracing::debug!("a client did not close after its session");
            }
        }
    }
}

/// Exec or attach.
pub async fn remote_command(
    io: impl AsyncRead + AsyncWrite,
    format: Format,
    resize: bool,
    executor: Arc<dyn Executor>,
    command: Command,
    timeouts: Timeouts,
) {
    let (driver, accept) = connect(io, timeouts.idle);
    let app = async move {
        let mut wanted = command.wanted();
        wanted.tty &= resize;
        let gathering = gather(accept, wanted, format);
        match tokio::time::timeout(timeouts.creation, gathering).await {
            Ok(Some((streams, _accept))) => {
                remote_command::run(executor, command, streams).await;
            }
            Ok(None) => {}
            Err(_) => tracing::debug!("timed out waiting for client to create streams"),
        }
    };
    together(driver, app).await;
}

/// Waits for all the streams that the request needs. `None`: the client is gone.
async fn gather(mut accept: Accept, wanted: Wanted, format: Format) -> Option<(Streams, Accept)> {
    let (mut stdin, mut stdout, mut stderr, mut resize, mut error) = (None, None, None, None, None);
    loop {
        let missing = (wanted.stdin && stdin.is_none())
            || (wanted.stdout && stdout.is_none())
            || (wanted.stderr && stderr.is_none())
            || (wanted.tty && resize.is_none());
        if !missing && let Some(error) = error.take() {
            let streams = Streams {
                stdin,
                stdout,
                stderr,
                resize,
                error,
                format,
            };
            return Some((streams, accept));
        }
        let Incoming {
            headers,
            input,
            output,
            ..
        } = accept.next().await?;
        match headers.get("streamtype").map(String::as_str) {
            Some("stdin") => stdin = Some(input),
            Some("stdout") => stdout = Some(output),
            Some("stderr") => stderr = Some(output),
            Some("resize") => resize = Some(input),
            Some("error") => error = Some(output),
            other => {
                tracing::debug!(kind = other, "unexpected stream type");
                let _ = output.refuse().await;
            }
        }
    }
}
