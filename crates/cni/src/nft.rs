//! Runs `nft`: one atomic transaction a call.
//!
//! Scripts are nft's own language rather than its JSON: they read like the ruleset they make, as knftables found too.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// `nft` talks to the kernel only; a transaction that takes longer has hung.
const NFT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a transaction was not applied; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run nft (install the package nftables)")]
    Run(#[source] io::Error),
    #[error("nft gave no answer within {}s", NFT_TIMEOUT.as_secs())]
    Timeout,
    #[error("nft refused the transaction: {0}")]
    Refused(String),
}

/// Applies a script in one transaction.
pub async fn apply(script: &str) -> Result<(), Error> {
    run(&["-f", "-"], script).await.map(drop)
}

/// Runs `nft` with arguments and a script on its standard input; returns its standard output.
pub async fn run(args: &[&str], script: &str) -> Result<String, Error> {
    let mut child = Command::new("nft")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Run)?;
    let work = async {
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(script.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(NFT_TIMEOUT, work)
        .await
        .map_err(|_| Error::Timeout)?
        .map_err(Error::Run)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Error::Refused(text.trim().to_owned()))
    }
}
