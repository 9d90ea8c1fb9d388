//! `knarr sim`: many hollow kubelets beside any API server, and how fast it answers meanwhile.

mod text;

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_join::kubeconfig::{KubeconfigClients, Options};
use knarr_sim::{Config, Figures, Sim, Watcher, report};
use knarr_tasks::Tasks;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{AdminAccess, SimAction, SimCommand, SimNodes, SimReport},
    parts,
    process::{self, Asked},
    progress, token,
};

const STOP: Duration = Duration::from_secs(15);
/// A cluster that does not answer by then is not well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Thousands of nodes are deleted one by one.
const PURGE_TIMEOUT: Duration = Duration::from_secs(600);
/// Between looks at how far it is; where nobody looks on, a line is written only so often while nothing comes to an end.
const LOOK: Duration = Duration::from_secs(1);
const LINE: Duration = Duration::from_secs(15);
/// What a node has unless it is said.
const CAPACITY: [(&str, &str); 4] = [
    ("cpu", "32"),
    ("memory", "256Gi"),
    ("pods", "110"),
    ("ephemeral-storage", "1Ti"),
];

pub fn run(command: &SimCommand) -> Result<()> {
    match &command.action {
        SimAction::Nodes(flags) => process::stateless(&flags.log, nodes(flags)),
        SimAction::Report(flags) => process::stateless(&flags.log, print_report(flags)),
    }
}

async fn connect(access: &AdminAccess) -> Result<KubeconfigClients> {
    let options = Options {
        path: token::kubeconfig(access)?,
        server: None,
        service_accounts: false,
    };
    let clients = KubeconfigClients::open(&options).await?;
    let checked = timeout(ANSWER_TIMEOUT, clients.check()).await;
    let server = clients.server();
    checked
        .with_context(|| format!("{server} gives no answer within {ANSWER_TIMEOUT:?}"))?
        .with_context(|| format!("{server} is not to be used"))?;
    Ok(clients)
}

fn config(flags: &SimNodes) -> Config {
    let usual = CAPACITY.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    Config {
        name: flags.name.clone(),
        count: flags.count,
        version: knarr_auth::VERSION.to_owned(),
        zones: flags.zones,
        labels: flags.label.iter().cloned().collect(),
        taints: flags.taint.clone(),
        capacity: usual.into_iter().chain(flags.capacity.clone()).collect(),
        node_range: flags.node_cidr,
        pod_range: flags.pod_cidr,
        start: flags.start_latency,
        stop: flags.stop_latency,
        job: flags.job_time,
        not_ready: flags.not_ready,
        failing: flags.failing_pods,
        outages: flags.outages,
        outage: flags.outage_time,
        seed: flags.seed.unwrap_or_else(|| fastrand::u64(..)),
    }
}

async fn nodes(flags: &SimNodes) -> Result<()> {
    let mut asked = Asked::listen()?;
    let clients = connect(&flags.access).await?;
    let config = config(flags);
    let progress = progress::Progress::new();
    progress.line(&text::title(&config, &clients.server().to_string()));
    let sim = Sim::new(config, || clients.client()).context("--node-cidr")?;
    let watcher = sim.watcher();
    let tasks = Tasks::new(CancellationToken::new());
    let token = tasks.token().child_token();
    tasks.keep("the simulation", sim.run(token));
    let mut live = Live::new();
    tokio::select! {
        _ = asked.wait() => {}
        () = show(&watcher, &mut live) => {}
    }
    live.end();
    parts::stop("the simulation", &tasks, STOP).await;
    if !flags.purge {
        progress.line(&format!(
            "stopped; the nodes stay (kubectl delete nodes -l knarr.dev/simulated={} deletes them)",
            flags.name
        ));
        return Ok(());
    }
    progress.line("deleting the nodes; Ctrl-C leaves the rest");
    let client = clients.client();
    let purged = timeout(PURGE_TIMEOUT, knarr_sim::purge(&client, &flags.name));
    tokio::select! {
        _ = asked.wait() => progress.line("stopped; some nodes stay"),
        purged = purged => {
            let deleted = purged.context("deleting the nodes takes too long")??;
            progress.line(&format!("deleted {deleted} nodes"));
        }
    }
    Ok(())
}

/// Shows how far it is, until it is dropped.
async fn show(watcher: &Watcher, live: &mut Live) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut at) = (Figures::default(), Instant::now());
    loop {
        ticks.tick().await;
        let figures = watcher.figures();
        let passed = at.elapsed();
        live.show(&figures, &text::line(&figures, &before, passed));
        (before, at) = (figures, Instant::now());
    }
}

/// One line that changes, on a terminal; elsewhere a line now and then.
struct Live {
    is_terminal: bool,
    written: Option<Instant>,
    /// Whether all were registered when the last line was written.
    was_complete: bool,
}

impl Live {
    fn new() -> Self {
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            written: None,
            was_complete: false,
        }
    }

    fn show(&mut self, figures: &Figures, line: &str) {
        let is_complete = figures.registered == figures.nodes;
        let due = self.written.is_none_or(|at| at.elapsed() >= LINE);
        if self.is_terminal {
            self.write(&format!("\r\x1b[2K{line}"));
        } else if due || is_complete != self.was_complete {
            self.written = Some(Instant::now());
            self.was_complete = is_complete;
            self.write(&format!("{line}\n"));
        }
    }

    fn end(&self) {
        if self.is_terminal {
            self.write("\n");
        }
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: the simulation goes on.
        let _ = write!(out, "{text}").and_then(|()| out.flush());
    }
}

async fn print_report(flags: &SimReport) -> Result<()> {
    let mut asked = Asked::listen()?;
    let clients = connect(&flags.access).await?;
    let progress = progress::Progress::new();
    progress.line(&format!(
        "asking {} for {:?}: {} single objects a second, a list every {:?}",
        clients.server(),
        flags.time,
        flags.rate,
        flags.list_interval
    ));
    let plan = report::Plan {
        time: flags.time,
        singles_per_second: f64::from(flags.rate),
        list_interval: flags.list_interval,
        namespace: flags.namespace.clone(),
    };
    let client = clients.client();
    let measured = report::run(&client, plan).boxed();
    tokio::select! {
        _ = asked.wait() => progress.line("stopped; no report"),
        report = measured => {
            let report = report.context("cannot ask what there is")?;
            progress.line(text::report(&report, progress::in_color()).trim_end());
        }
    }
    Ok(())
}
