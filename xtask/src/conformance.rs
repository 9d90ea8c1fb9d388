//! Runs Kubernetes' own end-to-end suite against a cluster: `./x conformance`.
//!
//! The suite's program lists its conformance specs itself. Each spec is run in a process of its own, which costs a second of
//! a processor and buys a limit a spec, a log a spec and progress: a spec that hangs is ended and nobody waits for it. Specs
//! that must be alone (`[Serial]`) come after the others. What the record knows to pass and does not is run once more.
//!
//! With `--feature` it is the specs of one feature that is no part of conformance (`[Feature:HPA]`), with a record of their own.
//!
//! With `--ours` or `--theirs` one part of the cluster is the other side's ([`exchange`]): what its own side passes is what it has to
//! pass, and what was seen is kept in a record of its own.
//!
//! Rejected: one run of the suite with ginkgo's own parallel processes. It has a limit for the whole run only, and the specs
//! behind one that hangs are lost with it.

mod cluster;
mod exchange;
mod page;
mod report;
mod run;
mod spec;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use knarr_testkit::image::{target_dir, workspace};
use regex::Regex;

use self::{
    cluster::Target,
    report::{Summary, Tried},
    run::Suite,
    spec::{Choice, Feature, Spec},
};
use crate::{
    go::{self, Program},
    progress::step,
    record::Record,
    reference::Part,
};

/// Runs of the suite at a time, each against a cluster of its own.
const MAX_RUNS: usize = 4;
/// Nodes of a cluster that is started for a run.
const DEFAULT_NODES: u8 = 2;
/// Specs that take longer are not part of the fast half.
const FAST_LIMIT: Duration = Duration::from_secs(10);

const E2E: Program = Program {
    module: go::SUITE,
    package: "k8s.io/kubernetes/test/e2e",
};
const KUBECTL: Program = Program {
    module: go::SUITE,
    package: "k8s.io/kubernetes/cmd/kubectl",
};

#[derive(Parser)]
pub struct Args {
    /// Only specs of these groups: node,apps,network.
    #[arg(long, value_delimiter = ',', value_name = "SIGS")]
    sig: Vec<String>,
    /// Only specs whose name matches.
    #[arg(long, value_name = "REGEX")]
    focus: Option<Regex>,
    /// No specs whose name matches.
    #[arg(long, value_name = "REGEX")]
    skip: Option<Regex>,
    /// Beyond conformance: every spec that needs no cloud, no special feature of the cluster and disturbs nobody.
    #[arg(long)]
    wider: bool,
    /// The specs of a feature that conformance leaves out, with a record of their own: HPA
    #[arg(long, value_name = "NAME", conflicts_with_all = ["wider", "upstream", "ours", "theirs", "page"])]
    feature: Option<Feature>,
    /// Only specs that the record says pass within ten seconds, as a change is checked with.
    #[arg(long)]
    fast: bool,
    /// Specs at a time.
    #[arg(long, default_value_t = 6, value_name = "N")]
    procs: usize,
    /// Longest time for one spec, in seconds.
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    limit: u64,
    /// Nodes of the cluster that is started for the run, 2 unless a part of upstream's allows one only; two specs want two.
    #[arg(long, value_name = "N", conflicts_with = "kubeconfig")]
    nodes: Option<u8>,
    /// Another cluster than one started for the run; it has to have the suite's images.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The network namespace (a name below /run/netns) from which that cluster is reached.
    #[arg(long, requires = "kubeconfig", value_name = "NAME")]
    netns: Option<String>,
    /// The cluster is upstream's own: compare with, and write, its record.
    #[arg(long, requires = "kubeconfig")]
    upstream: bool,
    /// Run against upstream's own cluster, started for the run, with this part of ours
    #[arg(
        long,
        value_enum,
        value_name = "PART",
        conflicts_with_all = ["theirs", "kubeconfig", "nodes", "page"]
    )]
    ours: Option<Part>,
    /// Run against a cluster of ours with this part of upstream's
    #[arg(long, value_enum, value_name = "PART", conflicts_with_all = ["kubeconfig", "page"])]
    theirs: Option<Part>,
    /// Write what was seen into the record.
    #[arg(long, conflicts_with = "wider")]
    record: bool,
    /// Print the chosen specs and run none.
    #[arg(long)]
    list: bool,
    /// Make the page anew from the record and run nothing.
    #[arg(long)]
    page: bool,
}

/// Runs `cargo xtask conformance`; an error when a spec fails that the record says passes.
pub fn run(args: &Args) -> Result<()> {
    if args.page {
        return write_page();
    }
    let base = match &args.feature {
        Some(_) => args.record_path(),
        None => record_path(args.upstream || args.ours.is_some()),
    };
    let record = Record::load(&base)?;
    let e2e = step("building the suite (the first time takes minutes)", || {
        go::build(&[KUBECTL])?;
        go::build_tests(E2E)
    })?;
    let listed = match &args.feature {
        Some(feature) => spec::of_feature(&e2e, feature)?,
        None if args.wider => spec::all(&e2e)?,
        None => spec::conformance(&e2e)?,
    };
    let choice = Choice {
        sigs: &args.sig,
        focus: args.focus.as_ref(),
        skip: args.skip.as_ref(),
        fast: args.fast.then_some(FAST_LIMIT),
    };
    choice.check(&listed)?;
    let total = listed.len();
    let specs = choice.of(listed, &record);
    ensure!(!specs.is_empty(), "no spec is chosen by these flags");
    if args.list {
        specs.iter().for_each(print_name);
        return Ok(());
    }
    let interrupted = run::interruption()?;
    let (logs, _claim) = claim_logs(&target_dir().join("conformance"))?;
    let target = match (&args.kubeconfig, args.ours) {
        (Some(path), _) => Target::given(path, args.netns.as_deref())?,
        (None, Some(part)) => Target::upstream(part)?,
        (None, None) => Target::start(args.nodes()?, args.theirs)?,
    };
    let suite = Suite {
        e2e,
        kubectl: KUBECTL.path(),
        target: &target,
        limit: Duration::from_secs(args.limit),
        logs,
        interrupted,
    };
    let started = Instant::now();
    eprintln!(
        "running {} of {total} specs, {} at a time",
        specs.len(),
        args.procs
    );
    let mut tried = suite.run(specs, args.procs, &record)?;
    suite.retry(&mut tried, &record)?;
    let summary = Summary::new(&tried, &record);
    summary.print(started.elapsed(), &suite.logs);
    if args.record {
        keep(&args.record_path(), &tried)?;
    }
    let regressions = summary.regressions();
    ensure!(
        args.record || regressions == 0,
        "{regressions} spec(s) fail that the record does not know to fail"
    );
    Ok(())
}

/// Writes what was seen into the record, and the page that shows it.
fn keep(path: &Path, tried: &[Tried]) -> Result<()> {
    // Another run may have written its own since.
    let mut record = Record::load(path)?;
    record.update(report::as_record(tried), |_| false);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    record.save(path, ["spec"])?;
    write_page()
}

impl Args {
    fn nodes(&self) -> Result<u8> {
        let of_one = match self.theirs {
            // Each node has its own kubelet and proxy, and there is one of upstream's. Its controller manager approves no certificate of a
            // kubelet's server: further nodes would wait for somebody who does.
            Some(Part::Kubelet | Part::Proxy | Part::ControllerManager) => true,
            Some(Part::Scheduler) | None => false,
        };
        match (of_one, self.nodes) {
            (true, Some(nodes)) if nodes > 1 => {
                bail!("with this part of upstream's there is one node: --nodes {nodes} is too many")
            }
            (true, _) => Ok(1),
            (false, nodes) => Ok(nodes.unwrap_or(DEFAULT_NODES)),
        }
    }

    /// The record of what is run: the side's own, or that of an exchanged part.
    fn record_path(&self) -> PathBuf {
        let parts = workspace().join("docs/parts");
        if let Some(feature) = &self.feature {
            return workspace().join(format!("docs/features/{}.tsv", feature.file_name()));
        }
        match (self.ours, self.theirs) {
            (Some(part), _) => parts.join(format!("ours-{}.tsv", part.name())),
            (None, Some(part)) => parts.join(format!("theirs-{}.tsv", part.name())),
            (None, None) => record_path(self.upstream),
        }
    }
}

/// A folder for the logs that no other run has: two at a time would remove each other's. It is held as long as the file lives.
fn claim_logs(folder: &Path) -> Result<(PathBuf, File)> {
    fs::create_dir_all(folder)?;
    for number in 1..=MAX_RUNS {
        let name = match number {
            1 => "logs".to_owned(),
            more => format!("logs-{more}"),
        };
        let lock = folder.join(format!("{name}.lock"));
        let file =
            File::create(&lock).with_context(|| format!("cannot make {}", lock.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok((folder.join(name), file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock.display()));
            }
        }
    }
    bail!("{MAX_RUNS} runs are under way already; wait for one to end")
}

fn write_page() -> Result<()> {
    page::write(
        &Record::load(&record_path(false))?,
        &Record::load(&record_path(true))?,
    )
}

fn record_path(upstream: bool) -> PathBuf {
    workspace().join(if upstream {
        "docs/conformance-upstream.tsv"
    } else {
        "docs/conformance.tsv"
    })
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn print_name(spec: &Spec) {
    println!("{}", spec.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_upstreams_that_bear_no_further_node_get_none() {
        let nodes = |flags: &[&str]| {
            let words = ["conformance"].iter().chain(flags);
            Args::try_parse_from(words).unwrap().nodes().ok()
        };
        assert_eq!(nodes(&[]), Some(2));
        assert_eq!(nodes(&["--theirs=scheduler"]), Some(2));
        for part in ["kubelet", "proxy", "controller-manager"] {
            let theirs = format!("--theirs={part}");
            assert_eq!(nodes(&[&theirs]), Some(1), "{part}");
            assert_eq!(nodes(&[&theirs, "--nodes=1"]), Some(1), "{part}");
            assert_eq!(nodes(&[&theirs, "--nodes=2"]), None, "{part}");
        }
    }
}
