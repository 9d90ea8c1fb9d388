//! Which of many peers a pod is: found by its labels, not by asking each of them.

use std::collections::HashMap;

use crate::model::{Labels, Namespaces, PodPeer};

/// A label that a selector asks for with exactly one value.
type Exact = (String, String);

/// Peers by what they ask for.
#[derive(Default)]
pub struct Matcher {
    peers: Vec<PodPeer>,
    /// By a label of the pod, where one is asked for.
    by_pod: HashMap<Exact, Vec<usize>>,
    /// The others, by their namespaces.
    rest: ByNamespace,
    all: ByNamespace,
}

#[derive(Default)]
struct ByNamespace {
    own: HashMap<String, Vec<usize>>,
    by_label: HashMap<Exact, Vec<usize>>,
    rest: Vec<usize>,
}

impl ByNamespace {
    fn add(&mut self, index: usize, namespaces: &Namespaces) {
        let list = match namespaces {
            Namespaces::Own(name) => self.own.entry(name.clone()).or_default(),
            Namespaces::Selected(selector) => match exact(selector) {
                Some(label) => self.by_label.entry(label).or_default(),
                None => &mut self.rest,
            },
        };
        list.push(index);
    }

    /// Those that may be about a namespace.
    fn candidates<'a>(
        &'a self,
        name: &str,
        labels: Option<&'a Labels>,
    ) -> impl Iterator<Item = usize> + 'a {
        let own = self.own.get(name).into_iter().flatten();
        own.chain(labelled(&self.by_label, labels))
            .chain(&self.rest)
            .copied()
    }
}

fn labelled<'a>(
    index: &'a HashMap<Exact, Vec<usize>>,
    labels: Option<&'a Labels>,
) -> impl Iterator<Item = &'a usize> + 'a {
    let labels = labels.into_iter().flatten();
    labels
        .filter(|_| !index.is_empty())
        .filter_map(|(key, value)| index.get(&(key.clone(), value.clone())))
        .flatten()
}

fn exact(selector: &knarr_meta::labels::Selector) -> Option<Exact> {
    selector.requirements().iter().find_map(|requirement| {
        let value = selector.exact(requirement.key())?;
        Some((requirement.key().to_owned(), value.to_owned()))
    })
}

impl Matcher {
    pub fn new(peers: &[PodPeer]) -> Self {
        let mut matcher = Self {
            peers: peers.to_vec(),
            ..Self::default()
        };
        for (index, peer) in peers.iter().enumerate() {
            matcher.all.add(index, &peer.namespaces);
            match exact(&peer.pods) {
                Some(label) => matcher.by_pod.entry(label).or_default().push(index),
                None => matcher.rest.add(index, &peer.namespaces),
            }
        }
        matcher
    }

    /// Whether pods of a namespace can be peers. One whose labels are not known is nobody's but its own.
    pub fn is_about(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        self.all
            .candidates(namespace, labels)
            .any(|index| self.has_namespace(index, namespace, labels))
    }

    pub fn matches(&self, namespace: &str, labels: Option<&Labels>, pod: &Labels) -> bool {
        let by_pod = labelled(&self.by_pod, Some(pod)).copied();
        by_pod
            .chain(self.rest.candidates(namespace, labels))
            .any(|index| {
                self.has_namespace(index, namespace, labels) && self.peers[index].pods.matches(pod)
            })
    }

    fn has_namespace(&self, index: usize, namespace: &str, labels: Option<&Labels>) -> bool {
        match &self.peers[index].namespaces {
            Namespaces::Own(own) => own == namespace,
            Namespaces::Selected(selector) => labels.is_some_and(|labels| selector.matches(labels)),
        }
    }
}
