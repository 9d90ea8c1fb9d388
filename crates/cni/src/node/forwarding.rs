//! Forwarding between links, which pods need.

use std::{fs, io, path::Path};

use knarr_nft::Family;

use super::Error;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6_LINKS: &str = "/proc/sys/net/ipv6/conf";

/// Switches it on in the calling thread's network namespace.
pub(crate) fn forward(family: Family) -> Result<(), Error> {
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| Error::Forwarding { path, source }
    };
    match family {
        Family::Ip => fs::write(IPV4, "1").map_err(failed(IPV4)),
        Family::Ip6 => {
            let path = format!("{IPV6_LINKS}/all/forwarding");
            let is_on = fs::read_to_string(&path).map_err(failed(&path))?;
            if is_on.trim() == "1" {
                return Ok(());
            }
            keep_advertised_routes(Path::new(IPV6_LINKS)).map_err(failed(IPV6_LINKS))?;
            fs::write(&path, "1").map_err(failed(&path))
        }
    }
}

/// A machine that forwards takes no router advertisements by itself, and would lose the addresses and the default route that it has from
/// them: links that took them go on to.
fn keep_advertised_routes(links: &Path) -> io::Result<()> {
    const TAKEN: &str = "1";
    const TAKEN_WHILE_FORWARDING: &str = "2";
    for link in fs::read_dir(links)? {
        let link = link?;
        // These are for links to come.
        if link.file_name() == "all" || link.file_name() == "default" {
            continue;
        }
        let setting = link.path().join("accept_ra");
        match fs::read_to_string(&setting) {
            Ok(text) if text.trim() == TAKEN => fs::write(&setting, TAKEN_WHILE_FORWARDING)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
