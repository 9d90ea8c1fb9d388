//! A watch of the bound pods of a namespace, which counts those that come and reads nothing of them.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::pods;
use crate::http::{Connection, Endpoint};

/// How an event begins of a pod that was not there before: here, that was bound.
const ADDED: &[u8] = br#"{"type":"ADDED""#;
/// Without any pod that is bound.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(15);

pub struct Bound {
    body: Incoming,
    /// Keeps the connection open.
    _connection: Connection,
    events: Events,
    seen: Rc<Cell<u64>>,
}

impl Bound {
    /// Watches from now on.
    pub async fn open(endpoint: &Endpoint, namespace: &str) -> Result<Self> {
        let path = pods(namespace);
        let list = endpoint.get(&format!("{path}?limit=1")).await?;
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .context("no resourceVersion")?;
        let path =
            format!("{path}?watch=1&resourceVersion={version}&fieldSelector=spec.nodeName!%3D");
        let mut connection = endpoint.connect().await?;
        let request = endpoint.request(Method::GET, &path, Bytes::new())?;
        let response = connection.send(request).await?;
        ensure!(
            response.status() == StatusCode::OK,
            "watch: {}",
            response.status()
        );
        Ok(Self {
            body: response.into_body(),
            _connection: connection,
            events: Events::default(),
            seen: Rc::default(),
        })
    }

    /// How many came so far, at any time.
    pub fn seen(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.seen)
    }

    /// Until so many came in all; when the last of them did.
    pub async fn await_count(&mut self, count: u64) -> Result<Instant> {
        while self.events.added < count {
            let before = self.events.added;
            let progress = async {
                while self.events.added == before {
                    let frame = self.body.frame().await;
                    let frame = frame.context("the server ended the watch")??;
                    if let Some(data) = frame.data_ref() {
                        self.events.read(data);
                        self.seen.set(self.events.added);
                    }
                }
                anyhow::Ok(())
            };
            match timeout(PROGRESS_TIMEOUT, progress).await {
                Ok(read) => read?,
                Err(_) => {
                    bail!("{before} of {count} pods are bound, and none for {PROGRESS_TIMEOUT:?}")
                }
            }
        }
        Ok(Instant::now())
    }
}

/// Lines of which only the beginning is looked at.
#[derive(Default)]
struct Events {
    added: u64,
    /// Bytes of the current line that were as [`ADDED`] has them; more than that has once one was not.
    at: usize,
}

impl Events {
    fn read(&mut self, mut data: &[u8]) {
        while let Some(byte) = data.first() {
            if self.at >= ADDED.len() {
                let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
                    return;
                };
                self.at = 0;
                data = &data[end + 1..];
                continue;
            }
            match *byte == ADDED[self.at] {
                true => self.at += 1,
                false if *byte == b'\n' => self.at = 0,
                false => self.at = usize::MAX,
            }
            if self.at == ADDED.len() {
                self.added += 1;
            }
            data = &data[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let text = b"{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"MODIFIED\",\"x\":\"{\\\"type\\\":\\\"ADDED\\\"\"}\n\n\
            {\"type\":\"ADDED\",\"object\":{\"a\":1}}\n{\"type\":\"DELETED\"}\n{\"type\":\"ADDED\"";
        for size in 1..text.len() {
            let mut events = Events::default();
            for part in text.chunks(size) {
                events.read(part);
            }
            assert_eq!(events.added, 3, "pieces of {size} bytes");
        }
    }
}
