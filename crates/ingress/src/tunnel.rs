//! Two connections that speak with each other, once they have agreed on another protocol.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::body::Activity;

const BUFFER_BYTES: usize = 16 << 10;

/// Carries bytes both ways until both have ended, one fails, or neither says anything for `idle`.
pub async fn join<A, B>(a: A, b: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity::now();
    let ((mut from_a, mut to_a), (mut from_b, mut to_b)) = (split(a), split(b));
    let both = async {
        tokio::try_join!(
            carry(&mut from_a, &mut to_b, &activity),
            carry(&mut from_b, &mut to_a, &activity),
        )
    };
    tokio::select! {
        // One that failed is the end of the other.
        _ = both => {}
        () = activity.over(idle) => {}
    }
}

async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    activity: &Activity,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        activity.note();
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(bytes).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn bytes_both_ways_and_an_end() {
        let (mut client, a) = duplex(64);
        let (b, mut server) = duplex(64);
        let joined = join(a, b, Duration::from_secs(60));
        let talk = async {
            client.write_all(b"question").await.expect("a write");
            let mut text = [0; 8];
            server.read_exact(&mut text).await.expect("a read");
            server.write_all(b"answer").await.expect("a write");
            drop(server);
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("a read");
            drop(client);
            text
        };
        let ((), text) = tokio::join!(joined, talk);
        assert_eq!(text, "answer");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (_client, a) = duplex(64);
        let (b, _server) = duplex(64);
        join(a, b, Duration::from_secs(60)).await;
    }
}
