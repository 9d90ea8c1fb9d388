//! Copies between a connection's streams and descriptors.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::descriptor::Descriptor;
use super::streams::{CHUNK_BYTES, Input, Output};

/// Until the client's end, or until nobody reads what it sends. The descriptor is closed then. Whether the client has ended.
pub async fn to_descriptor(mut input: Input, descriptor: Option<Descriptor>) -> bool {
    while let Some(chunk) = input.next().await {
        let Some(descriptor) = &descriptor else {
            continue;
        };
        if let Err(error) = descriptor.write_all(&chunk).await {
            tracing::debug!(%error, "a process takes no more input");
            return false;
        }
    }
    true
}

/// Until the descriptor's end, which is passed on, or until the client is gone.
pub async fn from_descriptor(descriptor: Option<Descriptor>, output: Option<Output>) {
    if let Some(descriptor) = descriptor {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = match descriptor.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    tracing::debug!(%error, "a process's output broke off");
                    break;
                }
            };
            if let Some(output) = &output
                && output
                    .send(Bytes::copy_from_slice(&buffer[..count]))
                    .await
                    .is_err()
            {
                return;
            }
        }
    }
    if let Some(output) = output {
        // Whoever is gone needs no end.
        let _ = output.end().await;
    }
}

/// Until the client's end, which is passed on.
pub async fn to_socket(mut input: Input, mut socket: impl AsyncWrite + Unpin) {
    while let Some(chunk) = input.next().await {
        if let Err(error) = socket.write_all(&chunk).await {
            tracing::debug!(%error, "a forwarded connection takes no more");
            return;
        }
    }
    let _ = socket.shutdown().await;
}

/// Until the socket's end or the client's.
pub async fn from_socket(mut socket: impl AsyncRead + Unpin, output: &Output) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => {
                let chunk = Bytes::copy_from_slice(&buffer[..count]);
                if output.send(chunk).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a forwarded connection broke off");
                return;
            }
        }
    }
}
