//! `knarr scheduler`: the scheduler of a cluster whose API server is elsewhere.

use std::time::Duration;

use anyhow::Result;
use knarr_client::Informers;
use knarr_scheduler::Scheduler;
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{connect, election, serve_health};
use crate::{
    cli::SchedulerAlone,
    parts,
    process::{self, Asked},
};

/// Upstream's port of its health.
const PORT: u16 = 10_259;
const LEASE: &str = "kube-scheduler";
const STOP: Duration = Duration::from_secs(10);

pub fn run(flags: &SchedulerAlone) -> Result<()> {
    process::stateless(&flags.log, serve(flags))
}

async fn serve(flags: &SchedulerAlone) -> Result<()> {
    let mut asked = Asked::listen()?;
    let clients = connect(&flags.api, false).await?;
    let client = clients.client();
    let tasks = Tasks::new(CancellationToken::new());
    serve_health(&flags.serving, PORT, &tasks).await?;
    let election = election(&flags.election, client.clone(), LEASE)?;
    let token = tasks.token().child_token();
    tasks.keep("scheduler", async move {
        parts::lead(election, token, move |token| {
            let informers = Informers::new(client.clone(), token.clone());
            let config = knarr_scheduler::Config::default();
            Scheduler::new(config, client.clone(), &informers).run(token)
        })
        .await;
    });
    info!(server = %clients.server(), "the scheduler runs");
    let signal = asked.wait().await;
    info!(signal, "stopping");
    parts::stop("scheduler", &tasks, STOP).await;
    Ok(())
}
