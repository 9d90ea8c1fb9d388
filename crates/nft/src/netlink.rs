//! Who takes transactions, and tells when somebody else has changed what they made.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::{Connection, Error, Member, Monitor, Table, Transaction, Watched};

/// First pause after the kernel refused a transaction or somebody else changed the table; doubled up to [`RETRY_MAX`].
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long to wait before a table is made anew.
#[derive(Default)]
pub struct Pauses {
    last: Option<(Instant, Duration)>,
}

impl Pauses {
    /// Longer and longer for as long as it goes on.
    pub fn next_pause(&mut self) -> Duration {
        let now = Instant::now();
        let pause = match self.last {
            Some((at, pause)) if now.duration_since(at) < pause.saturating_add(RETRY_MAX) => {
                pause.saturating_mul(2).min(RETRY_MAX)
            }
            _ => RETRY_BASE,
        };
        self.last = Some((now, pause));
        pause
    }
}

/// The kernel, or what stands in for it in tests.
pub trait Kernel {
    /// Applies all of a transaction or nothing. One that `replaces` makes whole tables anew.
    fn apply(
        &mut self,
        transaction: Transaction,
        replaces: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// What rules have put into sets of addresses, in the order of the sets; `limit` of all together where there is more, and nothing
    /// of sets that are not there.
    fn members(
        &mut self,
        sets: Vec<(Table, String)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Vec<Member>>, Error>> + Send;

    /// Waits until somebody else has changed a table since it was replaced. May be cancelled.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// nf_tables of a network namespace.
pub struct Netlink {
    tables: Vec<Table>,
    watched: Watched,
    connection: Option<Connection>,
    monitor: Option<Monitor>,
}

impl Netlink {
    pub fn new(table: Table) -> Self {
        Self::watching(table, Watched::Everything)
    }

    pub fn watching(table: Table, watched: Watched) -> Self {
        Self::of(vec![table], watched)
    }

    /// For who keeps several tables by the same transactions.
    pub fn of(tables: Vec<Table>, watched: Watched) -> Self {
        Self {
            tables,
            watched,
            connection: None,
            monitor: None,
        }
    }
}

impl Netlink {
    /// Has a thread of its own wait for the kernel. A connection that failed is not used again.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open()?,
        };
        let work = move || {
            let done = work(&mut connection);
            (connection, done)
        };
        let (connection, done) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let done = done?;
        self.connection = Some(connection);
        Ok(done)
    }
}

impl Kernel for Netlink {
    async fn apply(&mut self, transaction: Transaction, replaces: bool) -> Result<(), Error> {
        if replaces && self.monitor.is_none() {
            // Before the table is made: what others do from then on is not missed.
            self.monitor = Some(Monitor::open().map_err(Error::Socket)?);
        }
        self.blocking(move |connection| connection.commit(&transaction, None))
            .await
    }

    async fn members(
        &mut self,
        sets: Vec<(Table, String)>,
        limit: usize,
    ) -> Result<Vec<Vec<Member>>, Error> {
        let work = move |connection: &mut Connection| {
            let mut room = limit;
            let read = sets.iter().map(|(table, set)| {
                let found = match room {
                    0 => Vec::new(),
                    _ => connection.members(table, set, room)?,
                };
                room = room.saturating_sub(found.len());
                Ok(found)
            });
            read.collect()
        };
        self.blocking(work).await
    }

    async fn changed(&mut self) {
        let Some(monitor) = &mut self.monitor else {
            return pending().await;
        };
        if let Err(error) = monitor.changed(&self.tables, self.watched).await {
            let table = self.tables.first().map(ToString::to_string);
            warn!(%error, table, "cannot see whether others change our rules");
            self.monitor = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_it_goes_on() {
        let mut pauses = Pauses::default();
        let seen: Vec<_> = (0..12).map(|_| pauses.next_pause()).collect();
        assert_eq!(seen[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(seen[11], RETRY_MAX);
        pauses.last = Some((Instant::now() - RETRY_MAX * 2, Duration::from_secs(1)));
        assert_eq!(pauses.next_pause(), RETRY_BASE);
    }
}
