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
    /// Our address that it came to.
    pub local: IpAddr,
    /// The host that it was made for, in small letters, if it has said so by SNI.
    pub made_for: Option<Arc<str>>,
    /// Cancelled when all connections are to end.
    pub token: CancellationToken,
    /// As many as there are requests, and one.
    pub busy: Arc<knarr_tasks::Place>,
}
