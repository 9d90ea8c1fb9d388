//! What keeps one node's process running.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use knarr_cni::local::LocalNodes;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Settings,
    child::{Child, Launch},
    names::Name,
};

/// Pause before a node's process that has ended is started again; it doubles.
const RESTART_FIRST: Duration = Duration::from_millis(500);
const RESTART_LONGEST: Duration = Duration::from_secs(30);
/// A process that ran for so long had nothing wrong with it at its start.
const STEADY: Duration = Duration::from_secs(60);
/// An agent's own stages take at most 16 seconds; it is killed afterwards.
const PROCESS_STOP: Duration = Duration::from_secs(17);

/// What a node's process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Runs,
    /// It has ended, for this reason, and will be started again.
    Ended(String),
    /// It is not to run.
    Stopped,
}

/// Keeps one node's process running.
pub(super) struct Keeper {
    pub settings: Arc<Settings>,
    pub network: Arc<LocalNodes>,
    pub name: Name,
    pub phase: watch::Sender<Phase>,
    /// Whether the process is to run.
    pub wanted: watch::Receiver<bool>,
    /// Rung at each change of the phase.
    pub changed: Arc<Notify>,
}

impl Keeper {
    fn report(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.changed.notify_one();
    }

    /// Until the token is cancelled.
    pub(super) async fn keep(mut self, token: CancellationToken) {
        let mut pause = RESTART_FIRST;
        loop {
            if !*self.wanted.borrow() {
                self.report(Phase::Stopped);
                let wish = self.wanted.wait_for(|wanted| *wanted);
                match token.run_until_cancelled(wish).await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
                pause = RESTART_FIRST;
            }
            self.report(Phase::Starting);
            let started = Instant::now();
            let ended = self.run(&token).await;
            if token.is_cancelled() {
                return;
            }
            if !*self.wanted.borrow() {
                continue;
            }
            let reason = ended.unwrap_or_else(|error| format!("{error:#}"));
            warn!(
                node = self.name.text,
                reason, "a node's process has ended, it is started again"
            );
            self.report(Phase::Ended(reason));
            if started.elapsed() >= STEADY {
                pause = RESTART_FIRST;
            }
            if token.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(RESTART_LONGEST);
        }
    }

    /// Starts the process and waits for its end; why it ended.
    async fn run(&self, token: &CancellationToken) -> Result<String> {
        let namespace = self.network.add(&self.name.text, self.name.number).await?;
        let launch = Launch {
            settings: &self.settings,
            name: &self.name.text,
            namespace: &namespace,
        };
        let join = self.settings.tokens.make(&self.name.text).await?;
        let mut child = Child::start(&launch)?;
        info!(
            node = self.name.text,
            pid = child.id(),
            "a node's process runs"
        );
        tokio::select! {
            reason = child.run(&join, || self.report(Phase::Runs)) => reason,
            () = unwanted(&self.wanted, token) => {
                child.stop(PROCESS_STOP).await;
                Ok("stopped".to_owned())
            }
        }
    }
}

/// Waits until the process is not to run any more.
async fn unwanted(wanted: &watch::Receiver<bool>, token: &CancellationToken) {
    let mut wanted = wanted.clone();
    tokio::select! {
        // Who could say so has gone: the token tells the end.
        Ok(_) = wanted.wait_for(|wanted| !*wanted) => {}
        () = token.cancelled() => {}
    }
}
