//! Copies bytes between two upgraded connections.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::server::limits::Place;

/// Bytes of each direction's buffer.
const BUFFER_BYTES: usize = 32 << 10;

/// Splices in a task of its own until both directions have ended or the token is cancelled. An end of one direction is passed on
/// as a half-close: the other may still have much to say.
pub fn spawn(client: OnUpgrade, backend: OnUpgrade, place: Place, stop: CancellationToken) {
    knarr_tasks::spawn("a stream to a backend", async move {
        let _place = place;
        stop.run_until_cancelled(async move {
            let (client, backend) = match tokio::try_join!(client, backend) {
                Ok(both) => both,
                Err(error) => {
                    tracing::debug!(%error, "an upgrade did not happen");
                    return;
                }
            };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let copied = tokio::io::copy_bidirectional_with_sizes(
                &mut client,
                &mut backend,
                BUFFER_BYTES,
                BUFFER_BYTES,
            )
            .await;
            if let Err(error) = copied {
                tracing::debug!(%error, "a spliced stream broke off");
            }
        })
        .await;
    });
}
