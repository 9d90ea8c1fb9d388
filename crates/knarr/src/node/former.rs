//! The addresses that a node had last. A machine that is started without a network, such as a laptop on its way, has its cluster all the
//! same: the first of them stands in for the machine's ([`knarr_cni::node`]) until that has one again.

use std::{fs, net::IpAddr, path::Path};

use anyhow::Result;
use tracing::{info, warn};

use super::ips;
use crate::ranges::Ranges;

/// In the data directory.
const FILE: &str = "node-addresses";

/// As [`ips`], or those that the node of the data directory had last, where the machine has none and a cluster of IPv4 alone needs one.
///
/// # Errors
/// As of [`ips`].
pub async fn ips_or_former(
    data_dir: &Path,
    given: &[IpAddr],
    cluster: &Ranges,
) -> Result<Vec<IpAddr>> {
    let path = data_dir.join(FILE);
    match ips(given, cluster).await {
        Ok(ips) => {
            if let Err(error) = knarr_host::write_durably(&path, written(&ips).as_bytes()) {
                warn!(%error, "the node's addresses are not kept for a start without a network");
            }
            Ok(ips)
        }
        Err(error) => match fs::read_to_string(&path).ok().and_then(|text| read(&text)) {
            Some(former) if given.is_empty() && cluster.families().eq([false]) => {
                info!(address = %former, "the machine has no address; the node keeps its last one");
                Ok(vec![former])
            }
            _ => Err(error),
        },
    }
}

fn written(ips: &[IpAddr]) -> String {
    ips.iter().map(|ip| format!("{ip}\n")).collect()
}

/// The one of IPv4.
fn read(text: &str) -> Option<IpAddr> {
    let mut ips = text.lines().filter_map(|line| line.parse().ok());
    ips.find(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_ipv4_is_found_again() {
        for (ips, wanted) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["2001:db8::7", "192.0.2.7"], Some("192.0.2.7")),
            (&["2001:db8::7"], None),
            (&[], None),
        ] {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            let wanted = wanted.map(|ip| ip.parse().unwrap());
            assert_eq!(read(&written(&ips)), wanted, "{ips:?}");
        }
        assert_eq!(read("\0\n"), None);
    }
}
