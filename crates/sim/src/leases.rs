//! Heartbeats: each node's Lease, renewed as a kubelet does it.

use std::sync::Arc;

use knarr_client::WorkQueue;
use kube::Client;

use crate::{counts::Counts, hollow::Table, worker::Work};

/// Renews leases; a key is a node's place in the table.
pub(crate) struct Leases {
    pub client: Client,
    pub table: Arc<Table>,
    pub counts: Arc<Counts>,
    pub queue: WorkQueue<u32>,
}

impl Work for Leases {
    type Key = u32;

    fn queue(&self) -> &WorkQueue<u32> {
        &self.queue
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    async fn perform(&self, key: &u32) -> Result<(), kube::Error> {
        let Some(hollow) = self.table.get(*key).filter(|hollow| hollow.beats()) else {
            // Whoever makes it beat again says so to the queue.
            return Ok(());
        };
        let Some(mut lease) = hollow.take_lease(&self.client) else {
            return Ok(());
        };
        lease.renew().await?;
        let pause = lease.pause();
        hollow.put_lease(lease);
        self.counts.leases.one();
        self.queue.add_after(*key, pause);
        Ok(())
    }
}
