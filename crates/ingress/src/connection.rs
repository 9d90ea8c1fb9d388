//! A connection, as those see it who answer what comes by it.

use std::{net::IpAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

/// Who asks, and where.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: IpAddr,
    /// Of ours.
    pub port: u16,
    pub tls: bool,
}

/// A connection of a client. What is done for it holds a clone.
#[derive(Clone)]
pub struct Connection {
    pub client: Client,
    /// Cancelled when all connections are to end.
    pub token: CancellationToken,
    /// As many as there are requests, and one.
    pub busy: Arc<knarr_tasks::Place>,
}
