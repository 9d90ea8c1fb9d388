//! What a node is called.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result, anyhow};
use tracing::info;

use crate::cli::NodeFlags;

/// In the data directory: what is stored there is of the node of that name.
const FILE: &str = "node-name";

/// The name that was given, else the one that the data directory's node has had up to now, else the host's. A host that gets another
/// name keeps its node and pods: under a new one they would be those of a node that has vanished.
///
/// # Errors
/// When the directory cannot be read or written, or the host has no name.
pub fn name(flags: &NodeFlags, data_dir: &Path) -> Result<String> {
    let path = data_dir.join(FILE);
    let known = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        text => Some(text.with_context(|| format!("cannot read {}", path.display()))?),
    };
    let known = known.as_deref().map(str::trim).filter(|n| !n.is_empty());
    let name = match (&flags.node_name, known) {
        (Some(given), _) => given.clone(),
        (None, Some(known)) => {
            if host_name().is_ok_and(|host| host != known) {
                info!(
                    name = known,
                    "the node keeps its name, although the machine has another one; --node-name would change it"
                );
            }
            known.to_owned()
        }
        (None, None) => host_name()?,
    };
    if known != Some(&*name) {
        knarr_host::write_durably(&path, format!("{name}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(name)
}

/// As names of nodes must be: lower case.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().to_lowercase();
    if name.is_empty() {
        return Err(anyhow!(
            "this machine has no host name; give one with --node-name"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flags(arguments: &[&str]) -> NodeFlags {
        let all = ["knarr", "up"].iter().chain(arguments);
        match Cli::parse_from(all).command {
            Command::Up(up) => up.node,
            _ => unreachable!("it is up"),
        }
    }

    #[test]
    fn a_name_is_kept_until_another_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let own = host_name().unwrap();
        assert_eq!(name(&flags(&[]), dir.path()).unwrap(), own);
        // The host is renamed.
        fs::write(dir.path().join(FILE), "older\n").unwrap();
        assert_eq!(name(&flags(&[]), dir.path()).unwrap(), "older");
        let given = flags(&["--node-name", "given"]);
        assert_eq!(name(&given, dir.path()).unwrap(), "given");
        assert_eq!(name(&flags(&[]), dir.path()).unwrap(), "given");
    }
}
