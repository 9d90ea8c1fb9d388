//! What an agent is told, by its user and by its cluster.

use std::{fs, io::Read, net::IpAddr, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use knarr_join::JoinToken;

use crate::{cli::Agent, node::ClusterSettings};

/// No token is longer.
const TOKEN_LIMIT_BYTES: u64 = 1_024;

/// The token that was given, or lies in the file that was.
pub(super) fn token(flags: &Agent) -> Result<Option<JoinToken>> {
    match (&flags.token, &flags.token_file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(path)) => {
            let text = read(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            let token = text.trim().parse();
            token
                .map(Some)
                .with_context(|| format!("--token-file {}", path.display()))
        }
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(TOKEN_LIMIT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The URLs of the servers, for messages.
pub(super) fn servers(flags: &Agent) -> String {
    let urls: Vec<String> = flags.server.iter().map(ToString::to_string).collect();
    urls.join(", ")
}

/// What the cluster says, as far as nodes of this version can have it.
pub(super) fn of_cluster(told: &knarr_join::ClusterSettings) -> Result<ClusterSettings> {
    let range = |text: &str| text.parse().map_err(|error: String| anyhow!(error));
    let IpAddr::V4(cluster_dns) = told.cluster_dns else {
        bail!(
            "the cluster's DNS has the address {}; nodes need one of IPv4",
            told.cluster_dns
        );
    };
    Ok(ClusterSettings {
        cluster_cidr: range(&told.cluster_cidr).context("the cluster's range of pods")?,
        service_cidr: range(&told.service_cidr).context("the cluster's range of Services")?,
        cluster_dns,
        cluster_domain: told.cluster_domain.clone(),
        network_policy: told.network_policy,
    })
}
