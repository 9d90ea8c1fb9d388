//! Which server of a node: its kubelet, or whoever listens on another port.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use knarr_meta::status::Status;
use serde_json::Value;

use super::{
    Destination, Target,
    target::{Id, may_be_proxied},
};
use crate::kubelet::{Address, Kubelets};

/// Longest time to find a node's address by its name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The server of a name: `NAME`, `NAME:PORT` or `[SCHEME]:NAME:PORT`. Without a port, and with its own, it is the kubelet, by whatever
/// scheme; any other is dialed with the scheme, without credentials. `find` gives a node.
///
/// Errors: 400 for what is no name or a node that has no address of its own, and those of `find`.
pub async fn of_node<'k>(
    id: &str,
    kubelets: &'k Kubelets,
    find: impl FnOnce(&str) -> Result<Value, Status>,
) -> Result<Destination<'k>, Status> {
    let invalid = || Status::bad_request(format!("invalid node request {id:?}"));
    let parsed = Id::parse(id).ok_or_else(invalid)?;
    let address = Address::of(&find(parsed.name)?)?;
    let ip = resolve(&address).await?;
    if parsed.port.is_empty() || parsed.port == address.port.to_string() {
        return Ok(Destination::Kubelet(kubelets, address));
    }
    let port = parsed.port.parse().map_err(|_| invalid())?;
    Ok(Destination::Address(Target {
        address: SocketAddr::new(ip, port),
        tls: parsed.tls,
    }))
}

/// The first of a host's addresses, all of which must be a node's own.
async fn resolve(address: &Address) -> Result<IpAddr, Status> {
    let found: Vec<IpAddr> = match address.host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => {
            let looked_up = tokio::net::lookup_host((address.host.as_str(), address.port));
            let looked_up = tokio::time::timeout(RESOLVE_TIMEOUT, looked_up).await;
            let failed =
                |why: String| Status::bad_request(format!("lookup {}: {why}", address.host));
            let addresses = looked_up
                .map_err(|_| failed("i/o timeout".to_owned()))?
                .map_err(|error| failed(error.to_string()))?;
            addresses.map(|address| address.ip()).collect()
        }
    };
    let first = found
        .first()
        .ok_or_else(|| Status::bad_request("no addresses for hostname"))?;
    match found.iter().all(may_be_proxied) {
        true => Ok(*first),
        false => Err(Status::bad_request("address not allowed")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn destination(id: &str, host: &str) -> Result<String, String> {
        let kubelets = Kubelets::new(None, CancellationToken::new());
        let node = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": host}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10260}},
        }});
        let find = |name: &str| match name {
            "n1" => Ok(node),
            name => Err(Status::bad_request(format!("no {name}"))),
        };
        match of_node(id, &kubelets, find).await {
            Ok(Destination::Kubelet(_, address)) => Ok(format!("kubelet {address}")),
            Ok(Destination::Address(target)) => {
                let scheme = if target.tls { "https" } else { "http" };
                Ok(format!("{scheme} {target}"))
            }
            Err(status) => Err(format!("{} {}", status.code, status.message)),
        }
    }

    #[tokio::test]
    async fn a_node_is_named_with_scheme_and_port() {
        for (id, wanted) in [
            ("n1", "kubelet 10.0.0.1:10260"),
            ("n1:", "kubelet 10.0.0.1:10260"),
            ("n1:10260", "kubelet 10.0.0.1:10260"),
            ("https:n1:10260", "kubelet 10.0.0.1:10260"),
            ("http:n1:10260", "kubelet 10.0.0.1:10260"),
            (":n1:", "kubelet 10.0.0.1:10260"),
            ("n1:9100", "http 10.0.0.1:9100"),
            ("http:n1:9100", "http 10.0.0.1:9100"),
            ("https:n1:10250", "https 10.0.0.1:10250"),
        ] {
            let found = destination(id, "10.0.0.1").await;
            assert_eq!(found.as_deref(), Ok(wanted), "{id}");
        }
        for id in [
            "",
            ":10250",
            "ftp:n1:21",
            "https:n1:1:2",
            "n1:http",
            "n1:70000",
        ] {
            let error = destination(id, "10.0.0.1").await.unwrap_err();
            assert_eq!(error, format!("400 invalid node request {id:?}"));
        }
        let error = destination("n2:9100", "10.0.0.1").await.unwrap_err();
        assert_eq!(error, "400 no n2");
    }

    #[tokio::test]
    async fn a_node_that_says_it_is_this_machine_is_not_proxied_to() {
        for host in [
            "127.0.0.1",
            "localhost",
            "169.254.169.254",
            "::1",
            "0.0.0.0",
        ] {
            for id in ["n1", "n1:9100"] {
                let error = destination(id, host).await.unwrap_err();
                assert_eq!(error, "400 address not allowed", "{id} at {host}");
            }
        }
    }
}
