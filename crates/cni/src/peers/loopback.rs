//! Ports of the node on 127.0.0.1 behind which are pods of other nodes.

use std::collections::BTreeSet;

use crate::trust;

/// The links to peers by which the node's own programs may send from 127.0.0.1.
#[derive(Default)]
pub struct Loopback {
    links: BTreeSet<String>,
}

impl Loopback {
    /// Makes them these, each time anew: a link that was made again has lost its setting. What comes in by them for 127.0.0.1 the node's
    /// table has to drop by now.
    pub fn sync<'a>(&mut self, wanted: impl Iterator<Item = &'a str>) -> Result<(), trust::Error> {
        let wanted: BTreeSet<String> = wanted.map(str::to_owned).collect();
        for link in self.links.difference(&wanted) {
            trust::no_loopback(link)?;
        }
        self.links.clone_from(&wanted);
        wanted.iter().try_for_each(|link| trust::loopback(link))
    }
}
