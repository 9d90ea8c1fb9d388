//! How many pulls there are at a time, so that no registry and no namespace holds up others.
//!
//! A registry may be slow for hours, and a tenant has as many registries as it likes. Who waits for a registry's place has taken
//! only its own namespace's before.

use knarr_tasks::{Share, Shares};

/// Of one namespace from one registry: others that the namespace uses go on.
const OF_BOTH: usize = 4;
const OF_NAMESPACE: usize = 16;
const OF_REGISTRY: usize = 8;
const ALL: usize = 64;

/// The places of all pulls.
#[derive(Debug)]
pub(super) struct Places {
    of_both: Shares,
    of_namespace: Shares,
    of_registry: Shares,
    /// Of all pulls, where the configuration has a limit.
    configured: Option<Shares>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _shares: [Share; 3],
    _configured: Option<Share>,
}

impl Places {
    /// With `most` at a time, if there is a limit beside those of fairness.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self {
            configured: most.map(Shares::of_each),
            of_both: Shares::of_each(OF_BOTH),
            of_namespace: Shares::of_each(OF_NAMESPACE),
            of_registry: Shares::new(OF_REGISTRY, ALL),
        }
    }

    /// Waits for a place.
    pub(super) async fn take(&self, namespace: &str, registry: &str) -> Place {
        // Neither name has a space.
        let both = self.of_both.take(&format!("{namespace} {registry}")).await;
        let of_namespace = self.of_namespace.take(namespace).await;
        let of_registry = self.of_registry.take(registry).await;
        let configured = match &self.configured {
            Some(places) => Some(places.take("").await),
            None => None,
        };
        Place {
            _shares: [both, of_namespace, of_registry],
            _configured: configured,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// As many places as there are at once.
    fn fill(places: &Places, namespace: &str, registry: &str) -> Vec<Place> {
        // A test that asks for hundreds at once is no task that has to make way.
        let take = || tokio::task::unconstrained(places.take(namespace, registry)).now_or_never();
        std::iter::from_fn(take).collect()
    }

    #[tokio::test]
    async fn a_namespace_has_not_all_places_whatever_its_registries() {
        let places = Places::new(None);
        let held: Vec<Place> = (0..ALL)
            .flat_map(|number| fill(&places, "a", &format!("{number}.example.com")))
            .collect();
        assert_eq!(held.len(), OF_NAMESPACE);
        assert_eq!(fill(&places, "b", "docker.io").len(), OF_BOTH);
    }

    #[tokio::test]
    async fn a_registry_has_not_all_places() {
        let places = Places::new(None);
        let held: Vec<Place> = (0..ALL)
            .flat_map(|number| fill(&places, &format!("n{number}"), "slow.example.com"))
            .collect();
        assert_eq!(held.len(), OF_REGISTRY);
        assert_eq!(
            fill(&places, "n0", "docker.io").len(),
            OF_BOTH,
            "of who waits"
        );
    }

    #[tokio::test]
    async fn who_waits_for_a_registry_holds_no_place_of_another() {
        let places = Places::new(None);
        let _held = (fill(&places, "a", "slow"), fill(&places, "b", "slow"));
        let waiting: Vec<_> = (0..ALL)
            .map(|_| {
                let mut waiting = Box::pin(places.take("c", "slow"));
                assert!((&mut waiting).now_or_never().is_none());
                waiting
            })
            .collect();
        assert_eq!(fill(&places, "c", "docker.io").len(), OF_BOTH);
        drop(waiting);
    }

    #[tokio::test]
    async fn the_configuration_may_have_one_at_a_time() {
        let places = Places::new(Some(1));
        let held = fill(&places, "a", "docker.io");
        assert_eq!(held.len(), 1);
        assert_eq!(fill(&places, "b", "quay.io").len(), 0);
        drop(held);
        assert_eq!(fill(&places, "b", "quay.io").len(), 1);
    }
}
