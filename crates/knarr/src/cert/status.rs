//! `knarr cert status`: what certificates a data directory has, and how long they are good for.
//!
//! It reads files alone, so that it tells of a cluster that does not start, too. Leaf certificates are renewed by the process that uses
//! them; the authority's is not.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use knarr_meta::clock;
use knarr_x509::{Certificate, pem};

use super::further_nodes;
use crate::text;

/// Of a file that is looked at; longer ones hold no certificate of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;
const HEAD: [&str; 7] = [
    "FILE",
    "NAME",
    "USE",
    "SIGNED BY",
    "EXPIRES",
    "LEFT",
    "STATE",
];
/// Leaves are renewed by now, if their process runs.
const DUE_PERCENT: i64 = 90;
/// What ends within this time is warned of.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The key that signs the tokens of service accounts; it has no end.
const TOKEN_KEY: &str = "sa.key";

/// What a file holds.
#[derive(Debug)]
struct Found {
    file: String,
    certificate: Certificate,
    /// An authority that stands behind the one that signs.
    is_replaced: bool,
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
#[expect(clippy::print_stderr, reason = "warnings are no part of the table")]
pub fn run(data_dir: &Path) -> Result<()> {
    let dir = data_dir.join("pki");
    let mut found = certificates(&dir, "")?;
    if found.is_empty() {
        bail!(
            "{} holds no certificates: knarr has not run on it (--data-dir names another)",
            dir.display()
        );
    }
    for node in further_nodes(data_dir) {
        let name = node.file_name().unwrap_or_default().display().to_string();
        found.extend(certificates(&node.join("pki"), &format!("{name}/"))?);
    }
    let now = clock::now();
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(found.iter().map(|found| row(found, now)));
    if dir.join(TOKEN_KEY).exists() {
        let cells = [
            TOKEN_KEY,
            "service accounts",
            "signs tokens",
            "-",
            "-",
            "-",
            "a key, has no end",
        ];
        rows.push(cells.map(String::from));
    }
    print!("{}", text::table(&rows));
    for warning in found.iter().filter_map(|found| warning(found, now)) {
        eprintln!("warning: {warning}");
    }
    let ended: Vec<&str> = found
        .iter()
        .filter(|found| !is_valid(&found.certificate, now))
        .map(|found| found.file.as_str())
        .collect();
    if ended.is_empty() {
        return Ok(());
    }
    bail!(
        "not valid now: {}; a start of knarr makes leaf certificates anew (of an agent: join again with a new token), an authority's end is that of its cluster",
        ended.join(", ")
    )
}

/// The first certificate of each file, and all of an authority's, by the file's name, which `prefix` is written before.
fn certificates(dir: &Path, prefix: &str) -> Result<Vec<Found>> {
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
        let blocks = pem::blocks(&bytes).filter(|block| block.label == pem::CERTIFICATE);
        let read: Option<Vec<Certificate>> = blocks
            .map(|block| Certificate::from_der(&block.der).ok())
            .collect();
        let read = read.filter(|read| !read.is_empty());
        let read = read
            .with_context(|| format!("{} holds no certificate that can be read", path.display()))?;
        let read = read.into_iter().enumerate();
        let shown = read.filter(|(index, certificate)| *index == 0 || certificate.is_ca);
        found.extend(shown.map(|(index, certificate)| Found {
            file: format!("{prefix}{name}"),
            certificate,
            is_replaced: index > 0,
        }));
    }
    found.sort_by(|a, b| (&a.file, a.is_replaced).cmp(&(&b.file, b.is_replaced)));
    Ok(found)
}

fn is_valid(certificate: &Certificate, now: Timestamp) -> bool {
    (certificate.not_before..=certificate.not_after).contains(&now)
}

fn row(found: &Found, now: Timestamp) -> [String; 7] {
    let certificate = &found.certificate;
    let left = now.duration_until(certificate.not_after);
    [
        found.file.clone(),
        name(certificate),
        usage(certificate).to_owned(),
        certificate.issuer_name.clone(),
        certificate
            .not_after
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        match left > SignedDuration::ZERO {
            true => text::duration(left),
            false => "<expired>".to_owned(),
        },
        state(found, now).to_owned(),
    ]
}

/// The user with its groups, or the server.
fn name(certificate: &Certificate) -> String {
    let name = &certificate.common_name;
    match certificate.organizations.is_empty() {
        true => name.clone(),
        false => format!("{name} ({})", certificate.organizations.join(", ")),
    }
}

fn usage(certificate: &Certificate) -> &'static str {
    match (
        certificate.is_ca,
        certificate.is_server,
        certificate.is_client,
    ) {
        (true, ..) => "authority",
        (_, true, true) => "server, client",
        (_, true, false) => "server",
        (_, false, true) => "client",
        (_, false, false) => "-",
    }
}

fn state(found: &Found, now: Timestamp) -> &'static str {
    let certificate = &found.certificate;
    match (is_valid(certificate, now), certificate.is_ca) {
        (false, _) if now < certificate.not_before => "not yet valid",
        (false, _) => "expired",
        (true, true) if found.is_replaced => "replaced, still trusted",
        (true, true) => "good",
        (true, false) if is_late(certificate, now) => "good, but late to be renewed",
        (true, false) => "good, renewed by itself",
    }
}

/// What is to be done about one that ends soon.
fn warning(found: &Found, now: Timestamp) -> Option<String> {
    let certificate = &found.certificate;
    let left = now.duration_until(certificate.not_after);
    if !is_valid(certificate, now) || left > SOON {
        return None;
    }
    let advice = match (certificate.is_ca, found.is_replaced) {
        (true, false) => "replace it: knarr cert rotate --ca",
        (true, true) => "drop it: knarr cert rotate --drop-old-ca",
        (false, _) => "renew it: knarr cert rotate",
    };
    let left = text::duration(left);
    Some(format!("{} ends in {left}; {advice}", found.file))
}

/// Whether its process has not done what it should have: it does not run, or cannot.
fn is_late(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_before.duration_until(certificate.not_after);
    let past = certificate.not_before.duration_until(now);
    past.as_secs().saturating_mul(100) >= life.as_secs().saturating_mul(DUE_PERCENT)
}

#[cfg(test)]
mod tests;
