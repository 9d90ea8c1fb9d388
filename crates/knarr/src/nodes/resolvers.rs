//! Whom other nodes of this machine ask for names that are not the cluster's.
//!
//! They ask whom this machine asks. A resolver on a loopback address (systemd-resolved's 127.0.0.53, a dnsmasq) is in the machine's
//! network namespace only; the first node's DNS server, which can ask it, answers in its place then.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Below the data directory.
const FILE: &str = "run/nodes-resolv.conf";

/// A `resolv.conf` for the other nodes.
pub struct Resolvers {
    /// The machine's own.
    path: PathBuf,
    /// What stands in it, where it is of use to no other namespace.
    text: Option<String>,
}

impl Resolvers {
    /// Those of the file at `path`; `first` is where the first node can be asked.
    pub fn of(path: &Path, first: IpAddr) -> Self {
        // One that cannot be read is as good as an empty one to everybody.
        let text = fs::read_to_string(path).unwrap_or_default();
        Self {
            path: path.to_owned(),
            text: relay(&text, first),
        }
    }

    /// Whether the first node has to answer.
    pub fn relayed(&self) -> bool {
        self.text.is_some()
    }

    /// Puts the file where nodes can read it; its path.
    pub fn write(&self, data_dir: &Path) -> io::Result<PathBuf> {
        let Some(text) = &self.text else {
            return Ok(self.path.clone());
        };
        let path = data_dir.join(FILE);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The text with `first` in place of all resolvers, if one of them is on a loopback address.
fn relay(text: &str, first: IpAddr) -> Option<String> {
    let resolver = |line: &str| -> Option<IpAddr> {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse().ok()
    };
    let mut resolvers = text.lines().filter_map(resolver);
    if !resolvers.any(|address| address.is_loopback()) {
        return None;
    }
    let mut relayed = format!("nameserver {first}\n");
    for line in text.lines().filter(|line| resolver(line).is_none()) {
        relayed.push_str(line);
        relayed.push('\n');
    }
    Some(relayed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_this_namespace_alone_are_asked_by_the_first_node() {
        let first = IpAddr::from([172, 30, 1, 1]);
        for (text, expected) in [
            ("", None),
            ("nameserver 10.0.0.2\nsearch a.b\n", None),
            (
                "search a.b\nnameserver 127.0.0.53\noptions edns0\n",
                Some("nameserver 172.30.1.1\nsearch a.b\noptions edns0\n"),
            ),
            (
                "nameserver 10.0.0.2\nnameserver ::1\n",
                Some("nameserver 172.30.1.1\n"),
            ),
        ] {
            assert_eq!(relay(text, first).as_deref(), expected, "{text:?}");
        }
    }
}
