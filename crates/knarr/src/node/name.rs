//! What a node is called.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result, anyhow};
use knarr_meta::names;
use tracing::info;

use crate::cli::NodeFlags;

/// In the data directory: what is stored there is of the node of that name.
const FILE: &str = "node-name";

/// The name that was given, else the one that the data directory's node has had up to now, else the host's. A host that gets another
/// name keeps its node and pods: under a new one they would be those of a node that has vanished.
///
/// # Errors
/// When the directory cannot be read or written, the host has no name, or no node can have that name.
pub fn name(flags: &NodeFlags, data_dir: &Path) -> Result<String> {
    let known = known(data_dir)?;
    let name = wanted(flags, known.as_deref())?;
    match known {
        Some(known) if known == name => {
            if host_name().is_ok_and(|host| host != name) && flags.node_name.is_none() {
                info!(
                    name = %name,
                    "the node keeps its name, although the machine has another one; --node-name would change it"
                );
            }
        }
        _ => {
            let path = data_dir.join(FILE);
            knarr_host::write_durably(&path, format!("{name}\n").as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(name)
}

/// As [`name`], before anything is made.
///
/// # Errors
/// As of [`name`].
pub fn check(flags: &NodeFlags, data_dir: &Path) -> Result<String> {
    wanted(flags, known(data_dir)?.as_deref())
}

fn wanted(flags: &NodeFlags, known: Option<&str>) -> Result<String> {
    match (&flags.node_name, known) {
        (Some(given), _) => node_name(given).map_err(|reason| anyhow!("--node-name {reason}")),
        (None, Some(known)) => node_name(known)
            .map_err(|reason| anyhow!("the node's name {reason}; give another with --node-name")),
        (None, None) => host_name(),
    }
}

/// The name of the data directory's node.
fn known(data_dir: &Path) -> Result<Option<String>> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let name = text.trim();
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

/// The machine's, where a node can be called so.
fn host_name() -> Result<String> {
    let host = nix::unistd::gethostname().context("cannot read the host name")?;
    // What the kernel says until one was set.
    let host = host.to_str().filter(|name| !["", "(none)"].contains(name));
    let host = host.context("this machine has no host name; give one with --node-name")?;
    node_name(host).map_err(|reason| {
        anyhow!("this machine's host name {reason}; give the node another with --node-name")
    })
}

/// A name as nodes have it: in lower case, without spaces around it, as upstream's kubelet takes it from a host.
///
/// # Errors
/// Why the API server would refuse the node, which would be tried for ever.
pub fn node_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    // A label of the node has it, too.
    let label = names::label_value(&name);
    match names::dns1123_subdomain(&name)
        .into_iter()
        .chain(label)
        .next()
    {
        None => Ok(name),
        Some(reason) => Err(format!("{text:?} cannot be a node's: {reason}")),
    }
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

    #[test]
    fn names_are_those_that_the_api_server_takes() {
        for (text, wanted) in [
            ("box", Some("box")),
            ("Box.Example.COM", Some("box.example.com")),
            (" edge-1\n", Some("edge-1")),
            ("12345", Some("12345")),
            ("my_box", None),
            ("box.lan.", None),
            ("-box", None),
            ("foo bar", None),
            ("", None),
            ("(none)", None),
        ] {
            assert_eq!(node_name(text).ok().as_deref(), wanted, "{text:?}");
        }
        assert!(node_name(&"a".repeat(63)).is_ok());
        assert!(node_name(&"a".repeat(64)).is_err());
    }

    #[test]
    fn a_name_that_no_node_can_have_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let error = name(&flags(&["--node-name", "my_box"]), dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--node-name \"my_box\" cannot"),
            "{error}"
        );
        assert!(!dir.path().join(FILE).exists());
        let given = name(&flags(&["--node-name", "Edge"]), dir.path());
        assert_eq!(given.unwrap(), "edge");
    }
}
