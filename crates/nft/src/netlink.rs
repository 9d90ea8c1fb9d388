//! Who takes transactions, and tells when somebody else has changed what they made.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::{Connection, Error, Monitor, Table, Transaction};

/// How often a whole table is offered while others change theirs.
const ATTEMPTS: usize = 5;

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
            Some((at, pause)) if now < at + pause + RETRY_MAX => (pause * 2).min(RETRY_MAX),
            _ => RETRY_BASE,
        };
        self.last = Some((now, pause));
        pause
    }
}

/// The kernel, or what stands in for it in tests.
pub trait Kernel {
    /// Applies all of a transaction or nothing. One that `replaces` makes the whole table anew.
    fn apply(
        &mut self,
        transaction: Transaction,
        replaces: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits until somebody else has changed the table since it was replaced. May be cancelled.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// nf_tables of a network namespace.
pub struct Netlink {
    tables: [Table; 1],
    connection: Option<Connection>,
    monitor: Option<Monitor>,
    /// Whose changes are ours.
    port: u32,
    /// Somebody has changed something between a replacement and the monitor's start.
    missed: bool,
}

impl Netlink {
    pub fn new(table: Table) -> Self {
        Self {
            tables: [table],
            connection: None,
            monitor: None,
            port: 0,
            missed: false,
        }
    }

    /// Listens from now on. The table was made with `generation`; a later one means that something was missed.
    fn watch(&mut self, generation: u32) -> Result<(), Error> {
        self.monitor = Some(Monitor::open().map_err(Error::Socket)?);
        self.missed = match &mut self.connection {
            Some(connection) => connection.generation()? != generation,
            None => true,
        };
        Ok(())
    }
}

impl Kernel for Netlink {
    async fn apply(&mut self, transaction: Transaction, replaces: bool) -> Result<(), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open()?,
        };
        self.port = connection.port();
        if replaces {
            // Nobody is to tell us of each of our own elements.
            self.monitor = None;
        }
        let work = move || {
            let generation = if replaces {
                replace(&mut connection, &transaction)
            } else {
                connection.commit(&transaction, None).map(|()| 0)
            };
            (connection, generation)
        };
        let (connection, generation) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let generation = generation?;
        self.connection = Some(connection);
        if replaces {
            self.watch(generation)?;
        }
        Ok(())
    }

    async fn changed(&mut self) {
        if std::mem::take(&mut self.missed) {
            return;
        }
        let Some(monitor) = &mut self.monitor else {
            return pending().await;
        };
        if let Err(error) = monitor.changed(&self.tables, self.port).await {
            warn!(%error, table = %self.tables[0], "cannot see whether others change our rules");
            self.monitor = None;
        }
    }
}

/// Makes the table; the generation of the ruleset since.
fn replace(connection: &mut Connection, transaction: &Transaction) -> Result<u32, Error> {
    let mut attempts = 0;
    loop {
        let generation = connection.generation()?;
        attempts += 1;
        match connection.commit(transaction, Some(generation)) {
            // Generation 0 is none.
            Ok(()) => return Ok(generation.checked_add(1).unwrap_or(1)),
            Err(Error::Changed) if attempts < ATTEMPTS => {}
            Err(error) => return Err(error),
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
