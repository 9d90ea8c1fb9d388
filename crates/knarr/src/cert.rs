//! `knarr cert status`: what certificates a data directory has, and how long they are good for.
//!
//! It reads files alone, so that it tells of a cluster that does not start, too. Leaf certificates are renewed by the process that uses
//! them; the authority's is not.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use knarr_meta::clock;
use knarr_x509::{Certificate, pem};

use crate::{
    cli::{CertAction, CertCommand, CertStatus},
    text,
};

/// Of a file that is looked at; longer ones hold no certificate of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;
const HEAD: [&str; 5] = ["FILE", "NAME", "EXPIRES", "LEFT", "STATE"];
/// Leaves are renewed by now, if their process runs.
const DUE_PERCENT: i64 = 90;

pub fn run(command: &CertCommand) -> Result<()> {
    let CertAction::Status(flags) = &command.action;
    status(flags)
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn status(flags: &CertStatus) -> Result<()> {
    let dir = flags.data_dir.join("pki");
    let found = certificates(&dir)?;
    if found.is_empty() {
        bail!(
            "{} holds no certificates: knarr has not run on it (--data-dir names another)",
            dir.display()
        );
    }
    let now = clock::now();
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(found.iter().map(|(file, found)| row(file, found, now)));
    print!("{}", text::table(&rows));
    let ended: Vec<&str> = found
        .iter()
        .filter(|(_, certificate)| !is_valid(certificate, now))
        .map(|(file, _)| file.as_str())
        .collect();
    if ended.is_empty() {
        return Ok(());
    }
    bail!(
        "not valid now: {}; a start of knarr makes leaf certificates anew (of an agent: join again with a new token), an authority's end is that of its cluster",
        ended.join(", ")
    )
}

/// The first certificate of each file, by the file's name.
fn certificates(dir: &Path) -> Result<Vec<(String, Certificate)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = entry.metadata();
        let is_small = file.is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX);
        if !is_small || !(name.ends_with(".crt") || name.ends_with(".pem")) {
            continue;
        }
        let path = entry.path();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let first = pem::blocks(&bytes).find(|block| block.label == pem::CERTIFICATE);
        let read = first.and_then(|block| Certificate::from_der(&block.der).ok());
        let read = read
            .with_context(|| format!("{} holds no certificate that can be read", path.display()))?;
        found.push((name, read));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn is_valid(certificate: &Certificate, now: Timestamp) -> bool {
    (certificate.not_before..=certificate.not_after).contains(&now)
}

fn row(file: &str, certificate: &Certificate, now: Timestamp) -> [String; 5] {
    let left = now.duration_until(certificate.not_after);
    let state = match (is_valid(certificate, now), certificate.is_ca) {
        (false, _) if now < certificate.not_before => "not yet valid",
        (false, _) => "expired",
        (true, true) => "good",
        (true, false) if is_late(certificate, now) => "good, but late to be renewed",
        (true, false) => "good, renewed by itself",
    };
    [
        file.to_owned(),
        certificate.common_name.clone(),
        certificate
            .not_after
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        match left > SignedDuration::ZERO {
            true => text::duration(left),
            false => "<expired>".to_owned(),
        },
        state.to_owned(),
    ]
}

/// Whether its process has not done what it should have: it does not run, or cannot.
fn is_late(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_before.duration_until(certificate.not_after);
    let past = certificate.not_before.duration_until(now);
    past.as_secs().saturating_mul(100) >= life.as_secs().saturating_mul(DUE_PERCENT)
}

#[cfg(test)]
mod tests;
