//! The stream of `GetContainerEvents`.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use knarr_cri::v1::ContainerEventResponse;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use crate::runtime::Inner;

/// Items between the fan-out and a connection.
const CHANNEL_ITEMS: usize = 64;

pub type EventStream = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Status>> + Send>>;

/// Every event from now on. A subscriber that fell too far behind gets an error as the last item.
pub fn events(inner: &Inner) -> EventStream {
    let mut events = inner.events.subscribe();
    let token = inner.token.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel(CHANNEL_ITEMS);
    inner.tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = token.cancelled() => return,
                () = sender.closed() => return,
            };
            let (item, last) = match event {
                Ok(event) => (Ok(Arc::unwrap_or_clone(event)), false),
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(missed)) => {
                    let text = format!("{missed} events were lost; list anew");
                    (Err(Status::resource_exhausted(text)), true)
                }
            };
            if sender.send(item).await.is_err() || last {
                return;
            }
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}
