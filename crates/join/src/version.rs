//! Whether a server is of a version that this node can work with.

use knarr_auth::VERSION;

use crate::Error;

/// Minor versions that server and node may be apart.
const SKEW_MAX: u32 = 1;

/// Asks the server for its version, which also tells whether it takes who asks.
pub(crate) async fn check(client: &kube::Client) -> Result<(), Error> {
    let server = client.apiserver_version().await;
    let server = server.map_err(|source| Error::Api {
        action: "ask the server for its version",
        source,
    })?;
    match fits(&server.git_version, VERSION) {
        true => Ok(()),
        false => Err(Error::Version {
            server: server.git_version,
            node: VERSION.to_owned(),
        }),
    }
}

fn fits(server: &str, node: &str) -> bool {
    match (parse(server), parse(node)) {
        (Some((major, server)), Some((own, node))) => {
            major == own && server.abs_diff(node) <= SKEW_MAX
        }
        _ => false,
    }
}

/// Major and minor version of `v1.37.2+knarr`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    let minor = minor.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_work_together() {
        for (server, node, expected) in [
            ("v1.37.2+knarr", "v1.37.0", true),
            ("v1.38.0-rc.1", "v1.37.2+knarr", true),
            ("v1.36.9", "v1.37.2", true),
            ("v1.35.9", "v1.37.2", false),
            ("v1.39.0", "v1.37.2", false),
            ("v2.37.0", "v1.37.2", false),
            ("1.37.0", "v1.37.2", false),
            ("", "v1.37.2", false),
            ("v1.x", "v1.37.2", false),
        ] {
            assert_eq!(fits(server, node), expected, "{server} {node}");
        }
    }
}
