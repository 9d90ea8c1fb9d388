//! What pods say about other pods, read once when a pod arrives.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use knarr_client::Informer;
use knarr_meta::labels::Selector;

use crate::{
    pod_info::PodInfo,
    tally::{Namespaces, Scope},
};

type Namespace = k8s_openapi::api::core::v1::Namespace;

/// The labels of an object, as its metadata has them.
pub type Labels = Option<BTreeMap<String, String>>;

/// The rules of a pod about other pods.
#[derive(Debug, Default)]
pub struct PodAffinity {
    pub required: Vec<Term>,
    pub required_anti: Vec<Term>,
    /// With their weights, which are negative where the others should not be near.
    pub preferred: Vec<(Term, i64)>,
}

impl PodAffinity {
    /// `None` for a pod without such rules.
    pub fn of(pod: &Pod) -> Option<Self> {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let near = affinity.pod_affinity.as_ref();
        let apart = affinity.pod_anti_affinity.as_ref();
        let required = near.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let required_anti = apart.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let preferred = near.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let preferred_anti = apart.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let terms = |terms: Option<&[PodAffinityTerm]>| -> Vec<Term> {
            let terms = terms.unwrap_or_default().iter();
            terms.map(|term| Term::new(term, namespace)).collect()
        };
        let weighted = |weighted: &WeightedPodAffinityTerm| {
            let term = Term::new(&weighted.pod_affinity_term, namespace);
            (term, i64::from(weighted.weight))
        };
        let mut all: Vec<(Term, i64)> = preferred.into_iter().flatten().map(weighted).collect();
        let apart = preferred_anti.into_iter().flatten().map(weighted);
        all.extend(apart.map(|(term, weight)| (term, weight.saturating_neg())));
        let all = Self {
            required: terms(required),
            required_anti: terms(required_anti),
            preferred: all,
        };
        let none = all.required.is_empty() && all.required_anti.is_empty();
        (!none || !all.preferred.is_empty()).then_some(all)
    }
}

/// Some pods, and how near they are meant: on nodes with the same value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub topology_key: String,
    selector: Selector,
    namespaces: BTreeSet<String>,
    namespace_selector: Selector,
}

impl Term {
    /// A term of a pod in `namespace`. One that cannot be read selects nothing: validation has refused it.
    fn new(term: &PodAffinityTerm, namespace: &str) -> Self {
        let selector = |selector: &Option<LabelSelector>| {
            Selector::from_optional(selector.as_ref()).unwrap_or_else(|_| Selector::nothing())
        };
        let named = term.namespaces.iter().flatten();
        let mut namespaces: BTreeSet<String> = named.cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: selector(&term.label_selector),
            namespaces,
            namespace_selector: selector(&term.namespace_selector),
        }
    }

    /// Whether a pod is meant whose namespace has these labels.
    pub fn selects(&self, pod: &PodInfo, namespace: &Labels) -> bool {
        let there = self.namespaces.contains(&pod.namespace)
            || self.namespace_selector.matches_option(namespace.as_ref());
        there && self.selector.matches_with(|key| pod.labels.get(key))
    }

    /// The pods meant, with namespaces as they are labelled now.
    pub fn scope(&self, namespaces: &Informer<Namespace>) -> Scope {
        Scope {
            namespaces: self.scope_of_namespaces(namespaces),
            selector: self.selector.clone(),
        }
    }

    fn scope_of_namespaces(&self, all: &Informer<Namespace>) -> Namespaces {
        if self.namespace_selector.is_empty() {
            return Namespaces::All;
        }
        let mut names = self.namespaces.clone();
        if !self.namespace_selector.is_nothing() {
            let labelled = all.list().into_iter().filter(|namespace| {
                let labels = namespace.metadata.labels.as_ref();
                self.namespace_selector.matches_option(labels)
            });
            names.extend(labelled.filter_map(|namespace| namespace.metadata.name.clone()));
        }
        Namespaces::These(names)
    }
}

/// The pods that all of the scopes mean; `None` without scopes.
pub fn all_of(scopes: impl IntoIterator<Item = Scope>) -> Option<Scope> {
    let mut scopes = scopes.into_iter().peekable();
    scopes.peek()?;
    // A pod may have thousands of terms: their requirements are collected, not collected anew with each.
    let (mut namespaces, mut requirements, mut nothing) = (Namespaces::All, Vec::new(), false);
    for scope in scopes {
        nothing |= scope.selector.is_nothing();
        requirements.extend(scope.selector.requirements().iter().cloned());
        namespaces = namespaces.and(&scope.namespaces);
    }
    let selector = match nothing {
        true => Selector::nothing(),
        false => Selector::new(requirements),
    };
    Some(Scope {
        namespaces,
        selector,
    })
}
