//! Runs the programs that people point at a cluster, and compares what works with what worked: `docs/clients.tsv`.
//!
//! Each client is a program of its own in `tests/clients`, which tells of its steps in the protocol of
//! [`report`]; it gets a cluster of its own. What fails for want of something in knarr stands in the record with its reason.

mod build;
mod catalog;
mod critest;
mod metrics_server;
mod place;
mod report;
mod session;
mod visit;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use knarr_testkit::image;

use crate::record::{Changes, Outcome, Record, State};

use self::{catalog::Client, place::Place, session::Session};

const RECORD: &str = "docs/clients.tsv";
const COLUMNS: [&str; 2] = ["client", "step"];
const CLIENT_COLUMN: usize = 20;
const STEP_COLUMN: usize = 28;

#[derive(Parser)]
pub struct Args {
    /// Use this cluster [default: a new one for each client, in a network of its own]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Run these clients only; `kubectl` means every version of it
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Make docs/clients.tsv say what this run found
    #[arg(long)]
    record: bool,
}

/// Runs `cargo xtask clients`.
pub fn run(args: &Args) -> Result<()> {
    let path = image::workspace().join(RECORD);
    let known = Record::<2>::load(&path)?;
    let mut found = Record::default();
    let mut ran = BTreeSet::new();
    let mut broken = Vec::new();
    for client in chosen(args)? {
        let started = Instant::now();
        match try_client(&client, args, &mut found) {
            Ok(()) => {
                let seconds = started.elapsed().as_secs();
                say(&format!("{} took {seconds} s", client.name))?;
                ran.insert(client.name);
            }
            Err(error) => {
                say(&format!("{} could not be run: {error:#}", client.name))?;
                broken.push(client.name);
            }
        }
    }
    let changes = known.changes(&found, |[client, _]| ran.contains(client));
    summary(&ran, &found, &changes)?;
    if args.record {
        // Another run may have written it meanwhile.
        let mut known = Record::<2>::load(&path)?;
        known.update(found, |[client, _]| ran.contains(client));
        known.save(&path, COLUMNS)?;
        say(&format!("wrote {RECORD}"))?;
    }
    ensure!(broken.is_empty(), "could not run {}", broken.join(", "));
    ensure!(
        args.record || changes.regressions.is_empty(),
        "{} step(s) are worse than {RECORD} says",
        changes.regressions.len()
    );
    Ok(())
}

fn summary(ran: &BTreeSet<String>, found: &Record<2>, changes: &Changes<2>) -> Result<()> {
    for client in ran {
        let states = found.iter().filter(|([name, _], _)| name == client);
        let states: Vec<State> = states.map(|(_, outcome)| outcome.state).collect();
        let count = |wanted| states.iter().filter(|state| **state == wanted).count();
        say(&format!(
            "{client:CLIENT_COLUMN$} {} pass, {} fail, {} skipped",
            count(State::Pass),
            count(State::Fail),
            count(State::Skip)
        ))?;
        let passes = changes.passes.iter().filter(|[name, _]| name == client);
        let steps: Vec<&str> = passes.map(|[_, step]| step.as_str()).collect();
        if !steps.is_empty() {
            say(&format!("  passes what it did not: {}", steps.join(" ")))?;
        }
    }
    for key in &changes.regressions {
        let reason = found.get(key).map_or("it was not tried", |o| &o.reason);
        say(&format!("worse than {RECORD}: {}: {reason}", key.join(" ")))?;
    }
    Ok(())
}

fn chosen(args: &Args) -> Result<Vec<Client>> {
    let only = &args.only;
    let clients = catalog::clients()?;
    if let Some(wrong) = only.iter().find(|n| !clients.iter().any(|c| c.is(n))) {
        let names: Vec<&str> = clients.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "no client is called {wrong}; there are {}",
            names.join(", ")
        );
    }
    let wanted = |client: &Client| only.is_empty() || only.iter().any(|name| client.is(name));
    let (of_cluster, of_runtime): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .filter(wanted)
        .partition(|client| !client.namespace.is_empty());
    if args.kubeconfig.is_none() {
        return Ok(of_cluster.into_iter().chain(of_runtime).collect());
    }
    for client in of_runtime {
        let name = client.name;
        say(&format!(
            "{name} is left out: it wants a runtime's socket, which no kubeconfig tells of"
        ))?;
    }
    ensure!(!of_cluster.is_empty(), "nothing is left to run");
    Ok(of_cluster)
}

/// Builds a client and runs it to its end; its rows are printed as they come.
fn try_client(client: &Client, args: &Args, found: &mut Record<2>) -> Result<()> {
    let program = (client.build)().context("building it")?;
    let logs = image::target_dir().join("clients/logs");
    let mut place = Place::new(
        args.kubeconfig.as_deref(),
        client.namespace,
        &program.subject,
    )?;
    let mut session = Session::start(&program, &client.name, &place, &logs)?;
    while let Some((step, outcome)) = session.next(&mut place)? {
        row(&client.name, &step, &outcome)?;
        found.add([client.name.clone(), step], outcome);
    }
    place.keep_log(&logs, &client.name);
    Ok(())
}

fn row(client: &str, step: &str, outcome: &Outcome) -> Result<()> {
    let line = format!(
        "{client:CLIENT_COLUMN$} {step:STEP_COLUMN$} {:4} {:>6.1}  {}",
        outcome.state, outcome.seconds, outcome.reason
    );
    say(line.trim_end())
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot print")
}
