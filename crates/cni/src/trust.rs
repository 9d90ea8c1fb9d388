//! What the node believes of what comes by a pod's link, by settings of that link.
//!
//! A link has what the machine's administrator has set for links to come, and those are meant for networks that he knows: by default a
//! machine that does not forward IPv6 takes its addresses and its default route from whoever says that he is a router. A pod may say
//! so (CVE-2020-10749).

use std::{fs, io};

const LINKS: &str = "/proc/sys/net";
const ON: &str = "1";
const OFF: &str = "0";

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub(crate) struct Error {
    path: String,
    source: io::Error,
}

/// Takes from a link no word about routers and ways, and nothing under addresses that others have: a pod would pass as that one, for
/// policies and for whoever looks at who calls. For IPv6 the last is a rule of the node's table, as no setting does it.
pub(crate) fn nothing(link: &str) -> Result<(), Error> {
    set("ipv4", link, "rp_filter", ON)?;
    for name in ["accept_ra", "accept_redirects"] {
        or_missing(set("ipv6", link, name, OFF))?;
    }
    Ok(())
}

/// Lets the node's own programs reach pods behind a link by ports of 127.0.0.1: without it the kernel refuses to send from there by a
/// real link, and to take the answers. For this link only, unlike kube-proxy, which lets every link do so; what must not come in
/// by it is dropped by the node's table.
pub(crate) fn loopback(link: &str) -> Result<(), Error> {
    set("ipv4", link, "route_localnet", ON)
}

/// Takes that back, of a link that may be gone.
pub(crate) fn no_loopback(link: &str) -> Result<(), Error> {
    or_missing(set("ipv4", link, "route_localnet", OFF))
}

/// Has a link speak IPv6, whatever links do by default, or not: a pod without an address of it has no business with it, and the node's
/// table does not judge it.
pub(crate) fn switch_ipv6(link: &str, on: bool) -> Result<(), Error> {
    if on {
        set("ipv6", link, "disable_ipv6", OFF)
    } else {
        or_missing(set("ipv6", link, "disable_ipv6", ON))
    }
}

/// The same for links that are there, of versions that trusted more. Those that speak IPv6 go on to while the node does.
pub(crate) fn nothing_of_any(link_prefix: &str, ipv6: bool) -> Result<(), Error> {
    let path = format!("{LINKS}/ipv4/conf");
    let failed = |source| Error {
        path: path.clone(),
        source,
    };
    for link in fs::read_dir(&path).map_err(failed)? {
        let link = link.map_err(failed)?.file_name();
        let Some(link) = link.to_str().filter(|name| name.starts_with(link_prefix)) else {
            continue;
        };
        let mut done = nothing(link);
        if !ipv6 {
            done = done.and_then(|()| switch_ipv6(link, false));
        }
        // Pods end meanwhile.
        or_missing(done)?;
    }
    Ok(())
}

fn set(family: &str, link: &str, name: &str, value: &str) -> Result<(), Error> {
    let path = format!("{LINKS}/{family}/conf/{link}/{name}");
    fs::write(&path, value).map_err(|source| Error { path, source })
}

/// A link that ends has no settings any more, and none of IPv6 has a machine without it, or a link with packets too small for it.
fn or_missing(set: Result<(), Error>) -> Result<(), Error> {
    match set {
        Err(error) if error.source.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
