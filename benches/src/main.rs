//! `knarr-bench`: a load generator that measures any cluster against the design's budgets.
//!
//! A *target* is a cluster: one of our own, started in a network namespace without a way out, or whatever a
//! kubeconfig points at. A *row* does something to a target and gives *figures*; the report collects them, judges them
//! by their budgets and puts a bare server's figures (`limit`) and a second cluster's (`against`) beside them. Rows run
//! one after the other, each on every target, so that the machine is the same for all.
//!
//! The generator is hyper over rustls on one thread. Rejected: Criterion, which measures functions; a Kubernetes
//! client, which costs more than the servers it would measure; existing HTTP load generators, which know no watches
//! and no pods.

mod cli;
mod cluster;
mod figures;
mod http;
mod kubeconfig;
mod limit;
mod load;
mod machine;
mod netns;
mod process;
mod report;
mod rows;
mod seed;
mod server;
mod signals;
mod stats;
mod sweep;
mod table;
mod target;

use std::{fs, io::Write, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    cli::{Bench, Cli, Command},
    cluster::Recipe,
    http::Protocol,
    machine::Machine,
    report::Report,
    rows::{Effort, Row},
    target::{Target, interrupted},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::ServeLimit { body }) => limit::serve(body),
        None => bench(&cli.bench),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knarr-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(flags: &Bench) -> Result<()> {
    target::watch_signals()?;
    let rows = if flags.only.is_empty() {
        Row::value_variants()
    } else {
        &flags.only
    };
    let effort = Effort {
        quick: flags.quick,
        limit: false,
    };
    let targets = targets(flags, effort)?;
    raise_open_files();
    let protocol = match flags.protocol {
        Protocol::H1 => "HTTP/1.1",
        Protocol::H2 => "HTTP/2",
    };
    let mut report = Report::new(Machine::here(), protocol, flags.quick);
    for target in &targets {
        report
            .versions
            .push((target.label.into(), target.version.clone()));
    }
    for row in rows {
        for (i, target) in targets.iter().enumerate() {
            let name = row.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            eprintln!("{name} ({})", target.label);
            let limit = i == 0;
            report.add(
                *row,
                target.label,
                limit,
                row.measure(target, Effort { limit, ..effort }),
            );
            if interrupted().is_cancelled() {
                // What was created goes with the cluster if it is ours; another's is told what is left.
                return abandon(targets);
            }
        }
    }
    for target in &targets {
        // A cluster of ours goes as a whole.
        if let Some(seed) = target.take_seed()
            && target.cluster.is_none()
        {
            eprintln!("deleting the ConfigMaps ({})", target.label);
            target
                .block_on(|| seed::remove(&target.endpoint, &seed))
                .unwrap_or_else(|error| eprintln!("{}: {error:#}", seed.namespace));
        }
    }
    drop(targets);
    fs::write(&flags.json, format!("{:#}\n", report.json()))
        .with_context(|| format!("cannot write {}", flags.json.display()))?;
    let mut out = std::io::stdout().lock();
    out.write_all(table::render(&report).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The cluster to measure, then the one to compare it with.
fn targets(flags: &Bench, effort: Effort) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    match &flags.kubeconfig {
        Some(path) => {
            let access = kubeconfig::read(path)?;
            targets.push(Target::new(
                "knarr",
                access,
                flags.protocol,
                &flags.image,
                None,
            )?);
        }
        None => {
            let beside = || Ok(std::env::current_exe()?.with_file_name("knarr"));
            let knarr = flags.knarr.clone().map_or_else(beside, anyhow::Ok)?;
            if !knarr.is_file() {
                bail!(
                    "there is no {} (build it, or give --knarr or --kubeconfig)",
                    knarr.display()
                );
            }
            let recipe = Recipe {
                knarr,
                image_dirs: flags.image_dir.clone(),
                extra: flags.up.clone(),
            };
            eprintln!("starting a cluster");
            let cluster = rows::start::start(&recipe, effort)?;
            let access = cluster.access()?;
            let target = Target::new("knarr", access, flags.protocol, &flags.image, Some(cluster))?;
            targets.push(target);
        }
    }
    if let Some(path) = &flags.against {
        let access = kubeconfig::read(path)?;
        let image = flags.against_image.as_ref().unwrap_or(&flags.image);
        targets.push(Target::new("against", access, flags.protocol, image, None)?);
    }
    Ok(targets)
}

fn abandon(targets: Vec<Target>) -> Result<()> {
    for target in targets {
        if target.cluster.is_none() {
            eprintln!(
                "namespaces and what else bears the name knarr-bench-{} or the label knarr-bench may be left ({})",
                std::process::id(),
                target.label
            );
        }
    }
    bail!("interrupted")
}

/// For the connections of 1 000 watchers; a cluster of ours has been started by then, with the limits a user has.
fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        eprintln!("cannot raise the limit of open files from {soft}: {error}");
    }
}
