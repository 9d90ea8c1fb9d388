//! A server that is sent EventLists.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use knarr_webhook::{Bounds, Kubeconfig, Remote};

use super::{Backend, Batching, Mode, Sink, Truncation};
use crate::Error;

const HEAD: &[u8] =
    b"{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\"items\":[";
const TAIL: &[u8] = b"]}";
/// One try, its answer included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Nobody reads the answer.
const ANSWER_BYTES: usize = 1 << 20;
/// Tries of a batch, each later than the one before: upstream's `DefaultRetryBackoff`.
const TRIES: u32 = 5;
/// Longest wait before the second try.
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;

/// Which server, and how it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookOptions {
    /// In the form of a kubeconfig.
    pub config_file: PathBuf,
    /// Before the second try.
    pub initial_backoff: Duration,
    pub mode: Mode,
    pub batching: Batching,
    /// Without it events are of any size.
    pub truncation: Option<Truncation>,
}

/// Reads the file; the server is asked for nothing yet.
///
/// # Errors
/// Where it names no server, or what proves who this server is cannot be read.
pub fn backend(options: &WebhookOptions) -> Result<Backend, Error> {
    let kubeconfig = Kubeconfig::read(&options.config_file)?;
    let sink = Box::new(WebhookSink {
        remote: Remote::new(&kubeconfig)?,
        initial_backoff: options.initial_backoff,
    });
    Backend::new(
        "webhook",
        options.mode,
        &options.batching,
        options.truncation,
        true,
        sink,
    )
}

struct WebhookSink {
    remote: Remote,
    initial_backoff: Duration,
}

#[async_trait]
impl Sink for WebhookSink {
    async fn keep(&self, events: &[Bytes]) -> Result<(), String> {
        let body = list(events);
        let bounds = Bounds {
            time: TIMEOUT,
            answer_bytes: ANSWER_BYTES,
        };
        let mut backoff = self.initial_backoff.min(MAX_BACKOFF);
        let mut tries = TRIES;
        loop {
            let answer = self.remote.post(body.clone(), bounds).await;
            tries = tries.saturating_sub(1);
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if tries == 0 => return Err(error.reason()),
                Err(_) => {}
            }
            tokio::time::sleep(backoff.mul_f64(1.0 + JITTER * fastrand::f64())).await;
            backoff = backoff.mul_f64(FACTOR);
        }
    }
}

fn list(events: &[Bytes]) -> Bytes {
    let mut body = HEAD.to_vec();
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(TAIL);
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_type_and_its_items_have_none() {
        let event = Bytes::from_static(b"{\"level\":\"Metadata\"}");
        let list = list(&[event.clone(), event]);
        let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
        assert_eq!(list["kind"], "EventList");
        assert_eq!(list["items"][1]["level"], "Metadata");
        assert_eq!(list["items"][1].as_object().map(|item| item.len()), Some(1));
    }
}
