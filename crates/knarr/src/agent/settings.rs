//! What an agent is told, by its user and by its cluster.

use std::{fs, io::Read, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use knarr_join::JoinToken;

use crate::{cli::Agent, node::ClusterSettings, ranges::Ranges};

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
    let ranges =
        |text: &str| -> Result<Ranges> { text.parse().map_err(|error: String| anyhow!(error)) };
    let cluster_cidr = ranges(&told.cluster_cidr).context("the cluster's ranges of pods")?;
    let service_cidr = ranges(&told.service_cidr).context("the cluster's ranges of Services")?;
    if !service_cidr.fits(&cluster_cidr) {
        bail!(
            "the cluster's pods have addresses of {cluster_cidr}, its Services of {service_cidr}, which are other families"
        );
    }
    Ok(ClusterSettings {
        cluster_cidr,
        service_cidr,
        cluster_dns: told.cluster_dns.clone(),
        cluster_domain: told.cluster_domain.clone(),
        network_policy: told.network_policy,
        load_balancer_ranges: (told.load_balancer_ranges.parse())
            .context("the cluster's ranges of load balancers")?,
    })
}
