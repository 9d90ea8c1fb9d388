//! API servers for tests of clients: one whose requests are answered and whose watches are fed by hand, and [`faults`] in front
//! of a real one.

mod faults;

use std::convert::Infallible;

use bytes::Bytes;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::oneshot;

pub use faults::{Faults, Faulty, Rates};

/// A request as a test sees it, to be answered.
pub struct Exchange {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub body: Value,
    answer: oneshot::Sender<Response<BoxBody<Bytes, Infallible>>>,
}

impl Exchange {
    /// Answers with a status code and a JSON body.
    pub fn answer(self, status: u16, body: &Value) {
        let body = Full::new(Bytes::from(body.to_string())).boxed();
        self.send(status, body);
    }

    /// Accepts a watch; its events are lines, and dropping the sender ends it.
    pub fn stream(self) -> Watch {
        let (sender, receiver) = mpsc::unbounded();
        let frames = receiver.map(|chunk| Ok::<_, Infallible>(http_body::Frame::data(chunk)));
        self.send(200, BodyExt::boxed(StreamBody::new(frames)));
        Watch(sender)
    }

    fn send(self, status: u16, body: BoxBody<Bytes, Infallible>) {
        let response = Response::builder()
            .status(status)
            .body(body)
            .expect("a status and a body make a response");
        // A caller that gave up meanwhile is no fault of the test.
        let _ = self.answer.send(response);
    }
}

/// A watch that was accepted.
pub struct Watch(UnboundedSender<Bytes>);

impl Watch {
    /// Sends an event of this type about this object.
    pub fn event(&self, type_: &str, object: &Value) {
        self.raw(format!(
            "{}\n",
            serde_json::json!({"type": type_, "object": object})
        ));
    }

    /// Sends these bytes.
    pub fn raw(&self, chunk: String) {
        self.0
            .unbounded_send(Bytes::from(chunk))
            .expect("the watch is read");
    }
}

/// The server's end.
pub struct Server(UnboundedReceiver<Exchange>);

impl Server {
    /// The next request; a test that waits for one that never comes fails by its own deadline.
    pub async fn next(&mut self) -> Exchange {
        let next = tokio::time::timeout(std::time::Duration::from_secs(600), self.0.next());
        next.await
            .expect("a request within the deadline")
            .expect("the client is alive")
    }

    /// No request is waiting.
    pub fn is_idle(&mut self) -> bool {
        self.0.next().now_or_never().is_none()
    }
}

/// A client, and the server that gets its requests.
pub fn client() -> (kube::Client, Server) {
    let (sender, receiver) = mpsc::unbounded();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let (answer, response) = oneshot::channel();
            let exchange = Exchange {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
                answer,
            };
            sender
                .unbounded_send(exchange)
                .map_err(|_| tower::BoxError::from("the test is over"))?;
            response.await.map_err(tower::BoxError::from)
        }
    });
    (kube::Client::new(service, "default"), Server(receiver))
}
