//! `knarr kubeconfig`: a client's identity, for a person, a program or a part of the cluster that runs elsewhere.
//!
//! The certificate is signed by the authority in the data directory, by whoever can read that, whether or not the cluster runs: a
//! controller manager that is to sign certificates needs one to begin with. What it allows is RBAC's to say.

use std::path::Path;

use anyhow::{Context, Result, bail};
use knarr_auth::pki::files::{self, Durability};
use knarr_join::kubeconfig::Identity;
use knarr_meta::clock;
use knarr_x509::{Authority, Key, KeyType, Policy, Request, Subject, pem};

use crate::{cli::KubeconfigCommand, instance::Record};

/// Most characters of a user's or a group's name, which a certificate has to hold.
const NAME_CHARACTERS: usize = 1_024;
/// Where everybody is, whatever a certificate says.
const EVERYBODY: &str = "system:authenticated";
/// What the certificate is good for.
const USAGES: [&str; 2] = ["digital signature", "client auth"];

pub fn run(flags: &KubeconfigCommand) -> Result<()> {
    check(flags)?;
    let pki = flags.data_dir.join("pki");
    let ca_pem = read(&pki.join("ca.crt"), flags)?;
    let authority = authority(&ca_pem, &read(&pki.join("ca.key"), flags)?)
        .with_context(|| format!("the authority in {} cannot be used", pki.display()))?;
    let key = Key::generate(KeyType::EcdsaP256).context("cannot make a key")?;
    let server = server(flags)?;
    let identity = Identity {
        ca_pem: &ca_pem,
        certificate_pem: &certificate(&authority, &key, flags)?,
        key_pem: &key.to_pem(),
    };
    let text = identity.kubeconfig(&server);
    put(flags.output.as_deref(), &text)
}

fn certificate(authority: &Authority, key: &Key, flags: &KubeconfigCommand) -> Result<String> {
    let subject = Subject {
        common_name: &flags.user,
        organization: flags.group.as_deref().unwrap_or(EVERYBODY),
        dns_names: &[],
        ip_addresses: &[],
    };
    let request = key.request(&subject).context("cannot make a request")?;
    let policy = Policy {
        usages: &USAGES,
        life: flags.lifetime,
        now: clock::now(),
    };
    let signed = Request::from_der(&request).and_then(|asked| authority.sign(&asked, &policy));
    signed.context("cannot sign")
}

fn check(flags: &KubeconfigCommand) -> Result<()> {
    let group = flags.group.iter().map(|group| ("--group", group));
    for (flag, name) in [("--user", &flags.user)].into_iter().chain(group) {
        let count = name.chars().count();
        if count == 0 || count > NAME_CHARACTERS || name.chars().any(char::is_control) {
            bail!(
                "{flag} {name:?} is no name: 1 to {NAME_CHARACTERS} characters that can be printed"
            );
        }
    }
    Ok(())
}

fn read(path: &Path, flags: &KubeconfigCommand) -> Result<String> {
    let found = files::read(path)?.with_context(|| {
        format!(
            "{} has no authority of a cluster: run this on the machine of the API server, with its --data-dir",
            flags.data_dir.display()
        )
    });
    String::from_utf8(found?).with_context(|| format!("{} is damaged", path.display()))
}

fn authority(ca_pem: &str, key_pem: &str) -> Result<Authority> {
    let block = pem::blocks(ca_pem.as_bytes()).find(|block| block.label == pem::CERTIFICATE);
    let block = block.context("it has no certificate")?;
    Ok(Authority::new(&block.der, key_pem)?)
}

/// The URL that was given, or that of the cluster's last start.
fn server(flags: &KubeconfigCommand) -> Result<String> {
    if let Some(server) = &flags.server {
        return Ok(server.to_string());
    }
    let record = Record::read(&flags.data_dir)?;
    record.map(|record| record.api).with_context(|| {
        format!(
            "{} does not say where the API server is; name it with --server",
            flags.data_dir.display()
        )
    })
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn put(output: Option<&Path>, text: &str) -> Result<()> {
    match output {
        None => print!("{text}"),
        Some(path) => files::write(path, text.as_bytes(), files::PRIVATE, Durability::Synced)
            .with_context(|| format!("cannot write {}", path.display()))?,
    }
    Ok(())
}
