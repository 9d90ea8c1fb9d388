//! Compares what knarr's API server and upstream's answer to the same requests: `cargo xtask-validation`.
//!
//! Both servers run without controllers, each in a network without a way out. From a valid object of each kind
//! ([`objects`]) come a round trip through every verb and format ([`trips`]), the whole of it in each of them ([`whole`]) and, by a
//! seed, objects and changes that are wrong in one place or two ([`mutate`], [`directives`], [`cases`]). Status code, reason, message,
//! causes and objects are compared ([`compare`]), but for what differs between any two clusters. What is known to differ stands in
//! `docs/differences/validation.tsv` with its reason.

mod cases;
mod client;
mod compare;
#[cfg(test)]
mod coverage;
mod directives;
mod known;
mod mutate;
mod objects;
mod parts;
mod report;
mod servers;
mod special;
mod trips;
mod whole;
mod wire;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use knarr_testkit::{can_run_clusters, image};

use self::{client::Server, objects::Example, report::Report, servers::Servers};

/// Requests that are generated where nobody says how many.
const DEFAULT_COUNT: usize = 4000;
/// Watches that are open at a time.
const WATCHES: usize = 50;
/// Looks at what is deleted until it is the same: a controller in either server may not have come by yet.
const LOOKS: usize = 120;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// How long a definition may take to be served.
const CUSTOM_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Parser)]
pub struct Args {
    /// Which requests are generated
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many requests are generated, over all kinds
    #[arg(long, default_value_t = DEFAULT_COUNT)]
    count: usize,
    /// Only objects of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Upstream's API server [default: built from the version that the suite pins, with Go]
    #[arg(long, value_name = "FILE")]
    api_server: Option<PathBuf>,
    /// etcd, 3.5.13 or newer: older ones do not tell watches how far they are [default: the one in PATH]
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
}

/// Runs `cargo xtask-validation`.
pub fn run(args: &Args) -> Result<()> {
    ensure!(can_run_clusters(), "starting API servers needs root");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let servers = Servers::start(args.api_server.as_deref(), args.etcd.as_deref())?;
    let report = runtime.block_on(compare_all(args, &servers))?;
    report.finish(&image::target_dir().join("validation"))
}

async fn compare_all(args: &Args, servers: &Servers) -> Result<Report> {
    let (upstream, ours) = servers.clients().await?;
    let pair = Pair { upstream, ours };
    pair.prepare().await?;
    let all = objects::all()?;
    let wanted = |example: &&Example| args.kind.is_empty() || args.kind.contains(&example.kind);
    let mut report = Report::new()?;
    // All are there before any is changed: some stand on others.
    for example in &all {
        let exchanges = trips::create(example);
        pair.compare(example, exchanges, &mut report).await?;
    }
    let examples: Vec<&Example> = all.iter().filter(wanted).collect();
    ensure!(!examples.is_empty(), "there is no such kind");
    for example in &examples {
        let exchanges = trips::read(example);
        pair.compare(example, exchanges, &mut report).await?;
        let exchanges = trips::write(example);
        pair.compare(example, exchanges, &mut report).await?;
        let exchanges = whole::requests(example);
        pair.compare(example, exchanges, &mut report).await?;
        pair.protobuf(example, &mut report).await?;
        pair.protobuf_of_stored(example, &mut report).await?;
    }
    pair.watch(&examples, &mut report).await?;
    for (example, request) in special::all(&examples)? {
        pair.compare(example, vec![request], &mut report).await?;
    }
    let each = args.count.div_ceil(examples.len());
    for example in &examples {
        let stored = pair.upstream.stored(example).await?;
        let requests = cases::generate(example, stored.as_ref(), args.seed, each);
        pair.compare(example, requests, &mut report).await?;
    }
    for example in &examples {
        let exchanges = trips::delete_collection(example);
        pair.compare(example, exchanges, &mut report).await?;
        let exchanges = trips::delete(example);
        pair.compare(example, exchanges, &mut report).await?;
    }
    Ok(report)
}

/// The two servers.
struct Pair {
    upstream: Server,
    ours: Server,
}

impl Pair {
    /// What controllers would have made.
    async fn prepare(&self) -> Result<()> {
        for server in [&self.upstream, &self.ours] {
            for (path, body) in objects::FOUNDATION {
                server.ensure(path, body).await?;
            }
            server.wait_for(objects::CUSTOM, CUSTOM_DEADLINE).await?;
        }
        Ok(())
    }

    /// Sends requests to both, one after another, and notes how the answers differ.
    async fn compare(
        &self,
        example: &Example,
        requests: Vec<client::Request>,
        report: &mut Report,
    ) -> Result<()> {
        for request in requests {
            let mut looks = match request.label == trips::DELETED {
                true => LOOKS,
                false => 1,
            };
            let (theirs, ours, mut differences) = loop {
                let (theirs, ours) = tokio::join!(
                    self.upstream.send(&request, example),
                    self.ours.send(&request, example)
                );
                let (theirs, ours) = (theirs?, ours?);
                let differences = compare::answers(&theirs, &ours);
                looks -= 1;
                if looks == 0 || differences.is_empty() {
                    break (theirs, ours, compare::over_directive(&request, differences));
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            };
            differences.extend(trips::refused(&request, &theirs));
            report.note(example, &request, &theirs, &ours, differences);
        }
        Ok(())
    }

    /// Each server reads what the other has encoded.
    async fn protobuf(&self, example: &Example, report: &mut Report) -> Result<()> {
        let Some(asks) = trips::encoded(example) else {
            return Ok(());
        };
        let theirs = self.upstream.send(&asks, example).await?;
        let ours = self.ours.send(&asks, example).await?;
        let differences = compare::answers(&theirs, &ours);
        report.note(example, &asks, &theirs, &ours, differences);
        for answer in [theirs, ours] {
            // What was refused is no object.
            if answer.is_protobuf() && answer.code < 400 {
                let decode = trips::decoded(example, answer.bytes);
                self.compare(example, vec![decode], report).await?;
            }
        }
        Ok(())
    }

    /// Each server reads what it has encoded itself, as nobody else has an object of that uid.
    async fn protobuf_of_stored(&self, example: &Example, report: &mut Report) -> Result<()> {
        for asks in trips::read_encoded(example) {
            let theirs = self.upstream.send(&asks, example).await?;
            let ours = self.ours.send(&asks, example).await?;
            let differences = compare::answers(&theirs, &ours);
            report.note(example, &asks, &theirs, &ours, differences);
            let both = theirs.is_protobuf() && ours.is_protobuf();
            let is_list = asks.path.contains('?');
            if !both || theirs.code >= 400 || is_list {
                continue;
            }
            let theirs = trips::put_back(example, &asks.path, &theirs.bytes);
            let ours = trips::put_back(example, &asks.path, &ours.bytes);
            for (to_upstream, to_ours) in theirs.into_iter().zip(ours) {
                let theirs = self.upstream.send(&to_upstream, example).await?;
                let ours = self.ours.send(&to_ours, example).await?;
                let differences = compare::answers(&theirs, &ours);
                report.note(example, &to_ours, &theirs, &ours, differences);
            }
        }
        Ok(())
    }

    /// All watches of one form at once, as each takes a second.
    async fn watch(&self, examples: &[&Example], report: &mut Report) -> Result<()> {
        let watches: Vec<(&Example, client::Request)> = examples
            .iter()
            .flat_map(|example| trips::watch(example).into_iter().map(|r| (*example, r)))
            .collect();
        for some in watches.chunks(WATCHES) {
            let sent: Vec<_> = some
                .iter()
                .map(|(_, request)| {
                    let (upstream, ours) = (self.upstream.clone(), self.ours.clone());
                    let request = request.clone();
                    tokio::spawn(
                        async move { tokio::join!(upstream.ask(&request), ours.ask(&request)) },
                    )
                })
                .collect();
            for ((example, request), sent) in some.iter().zip(sent) {
                let (theirs, ours) = sent.await.context("a watch")?;
                let (theirs, ours) = (theirs?, ours?);
                let differences = compare::answers(&theirs, &ours);
                report.note(example, request, &theirs, &ours, differences);
            }
        }
        Ok(())
    }
}
