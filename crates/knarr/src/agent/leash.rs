//! What an agent of `knarr up --nodes` hangs on: its standard input. It brings the token, and its end is the agent's.
//!
//! However `knarr up` ends, the kernel closes the other side. A signal at its parent's death would do for the process, but not
//! for a token, which is for no command line and no environment.

use std::process::Command;

use anyhow::{Context, Result, bail};
use knarr_join::JoinToken;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin, stdin};

/// Set for the processes of `knarr up`.
const VARIABLE: &str = "KNARR_LOCAL_NODE";
/// No token is longer.
const TOKEN_LIMIT_BYTES: u64 = 1_024;

/// Makes the command an agent that ends with its standard input.
pub fn mark(command: &mut Command) {
    command.env(VARIABLE, "1");
}

/// The standard input of an agent that `knarr up` started.
pub struct Leash(Option<BufReader<Stdin>>);

impl Leash {
    /// None of an agent that somebody else started.
    pub(super) fn of_environment() -> Option<Self> {
        std::env::var_os(VARIABLE).map(|_| Self(None))
    }

    fn input(&mut self) -> &mut BufReader<Stdin> {
        self.0.get_or_insert_with(|| BufReader::new(stdin()))
    }

    /// The token that comes first.
    pub(super) async fn token(&mut self) -> Result<JoinToken> {
        let mut line = String::new();
        self.input()
            .take(TOKEN_LIMIT_BYTES)
            .read_line(&mut line)
            .await
            .context("cannot read the token from standard input")?;
        if line.is_empty() {
            bail!("knarr up has ended");
        }
        Ok(line.trim().parse()?)
    }
}

/// Waits for the end of `knarr up`; for ever where there is none.
pub(super) async fn end(leash: Option<&mut Leash>) {
    let Some(leash) = leash else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 64];
    // Nothing is said on it; whatever comes is not the end.
    while matches!(leash.input().read(&mut buffer).await, Ok(read) if read > 0) {}
}
