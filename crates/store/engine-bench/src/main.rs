//! Which durable engine should hold the store's revisions? Every engine gets the same work, the one the store gives
//! it: revisions only grow, one transaction writes a batch of them (an index record and a 1 KiB value each) and is
//! fsynced, a write reads back the value it replaces, and an open reads all index records. Each engine runs in a
//! process of its own, so that CPU and memory are its own; the reopen happens after a SIGKILL, as after a crash.
//!
//!     cargo run --release --manifest-path crates/store/engine-bench/Cargo.toml -- [directory]
//!
//! prints one Markdown row an engine and batch size.

mod engines;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const VALUE_BYTES: usize = 1024;
const BATCHES: [usize; 3] = [1, 8, 32];
/// Transactions for each batch size; 41 000 revisions in all.
const TRANSACTIONS: usize = 1000;
const ROUNDS: usize = 5;
/// Kernel clock ticks a second in /proc/self/stat (USER_HZ is 100 on every Linux port).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--write", engine, dir] => write(engine, Path::new(dir)),
        ["--reopen", engine, dir] => reopen(engine, Path::new(dir)),
        [] => compare(Path::new(".")),
        [dir] => compare(Path::new(dir)),
        _ => bail!("usage: engine-bench [directory]"),
    }
}

/// Engines take turns, and of each row the round with the lowest p50 counts: on a machine that does other work too,
/// that is the round in which the engine was least disturbed.
fn compare(parent: &Path) -> Result<()> {
    let mut rows: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut summaries: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (number, engine) in engines::NAMES.iter().enumerate() {
            let dir = tempfile::tempdir_in(parent)?;
            let path = dir.path().to_str().context("directory is not UTF-8")?;
            // The writer aborts at its end: nothing is closed in order, as in a crash.
            let mut written = run(&["--write", engine, path])?;
            let mut summary = written.pop().context("the writer printed nothing")?;
            anyhow::ensure!(written.len() == BATCHES.len(), "{engine} did not finish");
            for row in written {
                keep(&mut rows, (number, row[0] as usize), row);
            }
            summary.extend(
                run(&["--reopen", engine, path])?
                    .pop()
                    .context("no reopen")?,
            );
            keep(&mut summaries, number, summary);
        }
    }
    println!(
        "| engine | batch | p50 us | p99 us | writes/s | CPU us/write |\n|---|---|---|---|---|---|"
    );
    for ((number, _), r) in rows {
        let name = engines::NAMES[number];
        println!(
            "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.1} |",
            r[0], r[1], r[2], r[3], r[4]
        );
    }
    println!(
        "\n| engine | read p50 us | RSS after load MiB | disk MiB | reopen ms | RSS after reopen MiB |"
    );
    println!("|---|---|---|---|---|---|");
    for (number, r) in summaries {
        let name = engines::NAMES[number];
        println!(
            "| {name} | {:.1} | {:.0} | {:.0} | {:.1} | {:.0} |",
            r[0], r[1], r[2], r[3], r[4]
        );
    }
    Ok(())
}

/// Second column decides: p50 of rows, RSS of summaries.
fn keep<K: Ord>(best: &mut BTreeMap<K, Vec<f64>>, key: K, row: Vec<f64>) {
    let kept = best.entry(key).or_insert_with(|| row.clone());
    if row[1] < kept[1] {
        *kept = row;
    }
}

/// Runs this program again; the numbers it prints, a line each.
fn run(args: &[&str]) -> Result<Vec<Vec<f64>>> {
    let output = Command::new(std::env::current_exe()?).args(args).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .map(|l| l.split(' ').map(str::parse).collect())
        .collect::<Result<_, _>>()?)
}

fn write(name: &str, dir: &Path) -> Result<()> {
    let mut engine = engines::open(name, dir)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut revision = 0;
    for batch in BATCHES {
        let (mut latencies, started, cpu) = (Vec::new(), Instant::now(), cpu_seconds()?);
        for _ in 0..TRANSACTIONS {
            let records: Vec<_> = (0..batch)
                .map(|_| record(&mut revision, &mut random))
                .collect();
            let begin = Instant::now();
            for (revision, ..) in &records {
                if *revision > 2000 {
                    engine.read(random.u64(1..*revision - 1000))?;
                }
            }
            engine.write(&records)?;
            latencies.push(begin.elapsed());
        }
        let writes = (TRANSACTIONS * batch) as f64;
        let (elapsed, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        let (p50, p99) = percentiles(&mut latencies);
        println!(
            "{batch} {p50} {p99} {} {}",
            writes / elapsed,
            cpu / writes * 1e6
        );
    }
    let mut reads = Vec::new();
    for _ in 0..10_000 {
        let begin = Instant::now();
        let value = engine.read(random.u64(1..=revision))?;
        reads.push(begin.elapsed());
        anyhow::ensure!(
            value.len() == VALUE_BYTES,
            "a value came back with another length"
        );
    }
    let (p50, _) = percentiles(&mut reads);
    println!("{p50} {} {}", rss_mib()?, disk_mib(dir)?);
    std::process::abort();
}

fn reopen(name: &str, dir: &Path) -> Result<()> {
    let begin = Instant::now();
    let engine = engines::open(name, dir)?;
    let count = engine.index()?;
    let elapsed = begin.elapsed();
    let expected = TRANSACTIONS * BATCHES.iter().sum::<usize>();
    anyhow::ensure!(count == expected, "{count} revisions instead of {expected}");
    println!("{} {}", elapsed.as_secs_f64() * 1e3, rss_mib()?);
    Ok(())
}

/// Revision, key, value. Values are JSON-like in size only: random bytes, so that compression cannot flatter anyone.
fn record(revision: &mut u64, random: &mut fastrand::Rng) -> (u64, Vec<u8>, Vec<u8>) {
    *revision += 1;
    let key = format!(
        "/registry/configmaps/namespace-{}/object-{revision:08}",
        *revision % 10
    );
    let mut value = vec![0; VALUE_BYTES];
    random.fill(&mut value);
    (*revision, key.into_bytes(), value)
}

fn percentiles(samples: &mut [Duration]) -> (f64, f64) {
    samples.sort();
    let at = |q: f64| samples[((samples.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}

/// User and system time of the process with all its threads: engines that work in the background pay for it here.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_SECOND)
}

fn rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("no VmRSS")?
        .parse::<f64>()?
        / 1024.0)
}

fn disk_mib(dir: &Path) -> Result<f64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => bytes += entry.metadata()?.blocks() * 512,
            }
        }
    }
    Ok(bytes as f64 / 1048576.0)
}
