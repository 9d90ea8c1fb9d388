//! Where requests go, and what is done with them.

use std::{sync::Arc, time::Duration};

use crate::{annotations::Options, backend_ref::BackendRef, filters::Filters, spread::Spread};

/// What is done with the requests of a rule.
#[derive(Debug)]
pub struct Route {
    /// Of the object that the rule is of.
    pub namespace: String,
    pub targets: Targets,
    pub options: Arc<Options>,
    /// Plain requests are sent to HTTPS.
    pub to_https: bool,
    /// It must not be served, since an annotation is not understood that keeps somebody out.
    pub refused: bool,
    pub filters: Filters,
    pub timeouts: Timeouts,
}

/// How long an answer may take, from the request's head to its own end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub request: Option<Duration>,
    /// Of each attempt to ask an endpoint, until it begins to answer.
    pub attempt: Option<Duration>,
}

/// One of a rule's backends.
#[derive(Debug)]
pub struct Target {
    /// None of one that cannot be asked: its part of the requests fails.
    pub backend: Option<BackendRef>,
    /// Its servers speak HTTP/2 without TLS, whatever their Service says.
    pub h2c: bool,
    pub filters: Filters,
}

impl Target {
    pub fn new(backend: BackendRef) -> Self {
        Self {
            backend: Some(backend),
            h2c: false,
            filters: Filters::default(),
        }
    }
}

/// Backends, each with its part of the requests.
#[derive(Debug, Default)]
pub struct Targets {
    /// With the sum of the weights up to and with its own.
    all: Vec<(u64, Target)>,
    turn: Spread,
}

impl Targets {
    /// With their weights, of which those of nothing get nothing.
    pub fn new(weighted: impl IntoIterator<Item = (u32, Target)>) -> Self {
        let mut sum = 0_u64;
        let weighted = weighted.into_iter().filter(|(weight, _)| *weight > 0);
        let all = weighted.map(|(weight, target)| {
            sum = sum.saturating_add(weight.into());
            (sum, target)
        });
        Self {
            all: all.collect(),
            turn: Spread::default(),
        }
    }

    pub fn one(target: Target) -> Self {
        Self::new([(1, target)])
    }

    /// The one whose turn it is; none where no one has a weight.
    pub fn next(&self) -> Option<&Target> {
        let (total, last) = self.all.last()?;
        if self.all.len() == 1 {
            return Some(last);
        }
        let point = self.turn.next(*total);
        let at = self.all.partition_point(|(end, _)| *end <= point);
        self.all.get(at).map(|(_, target)| target)
    }

    #[cfg(test)]
    pub fn services(&self) -> Vec<&str> {
        let backends = self.all.iter().flat_map(|(_, target)| &target.backend);
        backends.map(|backend| &*backend.service).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend_ref::PortRef;

    fn target(service: &str) -> Target {
        Target::new(BackendRef {
            namespace: "x".to_owned(),
            service: service.to_owned(),
            port: PortRef::Number(80),
        })
    }

    fn share(targets: &Targets, service: &str, of: usize) -> usize {
        let next = || {
            let target = targets.next()?;
            Some(target.backend.as_ref()?.service.clone())
        };
        (0..of)
            .filter(|_| next().as_deref() == Some(service))
            .count()
    }

    #[test]
    fn requests_are_shared_by_weight() {
        let targets = Targets::new([(70, target("a")), (0, target("b")), (30, target("c"))]);
        assert_eq!(targets.services(), ["a", "c"]);
        let share = share(&targets, "a", 1000);
        assert!((695..=705).contains(&share), "{share}");
        assert!(Targets::new([(0, target("a"))]).next().is_none());
        let one = Targets::one(target("a"));
        assert!(one.next().is_some_and(|target| target.backend.is_some()));
        let whole = Targets::new([(u32::MAX, target("a")), (u32::MAX, target("b"))]);
        assert!(whole.next().is_some());
    }

    #[test]
    fn few_requests_are_shared_as_well() {
        let targets = Targets::new([(1, target("a")), (1, target("b"))]);
        for _ in 0..10 {
            let share = share(&targets, "a", 10);
            assert!((4..=6).contains(&share), "{share}");
        }
    }
}
