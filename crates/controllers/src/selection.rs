//! Which controllers run: upstream's names of them, and its `--controllers`.

use crate::{
    attach_detach, bootstrap_signer, clusterrole_aggregation, cronjob, csr_approving, csr_cleaner,
    csr_signing, daemonset, deployment, device_taint_eviction, disruption, endpoints,
    endpointslice, endpointslice_mirroring, ephemeral_volume, garbage_collector,
    horizontal_pod_autoscaler, job, legacy_token_cleaner, namespace, node_ipam, node_lifecycle,
    node_ttl, persistent_volume, pod_certificate_request_cleaner, pod_gc, pv_protection,
    pvc_protection, replicaset, resource_claim, resourcequota, root_ca, runner::Context,
    service_cidr, service_lb, serviceaccount, serviceaccount_token, statefulset,
    storage_version_migrator, taint_eviction, token_cleaner, trust_bundle_publisher,
    ttl_after_finished, vac_protection, validatingadmissionpolicy_status, volume_expand,
};

/// One that can be chosen.
struct Controller {
    /// As `--controllers` names it.
    name: &'static str,
    /// As it was named before v1.28; empty where it had no other name.
    alias: &'static str,
    start: fn(&Context),
}

const fn controller(name: &'static str, alias: &'static str, start: fn(&Context)) -> Controller {
    Controller { name, alias, start }
}

/// All of them, in the order in which they start.
const CONTROLLERS: &[Controller] = &[
    controller(
        "replicaset-controller",
        "replicaset",
        replicaset::start_replica_sets,
    ),
    controller(
        "replicationcontroller-controller",
        "replicationcontroller",
        replicaset::start_replication_controllers,
    ),
    controller("deployment-controller", "deployment", deployment::start),
    controller("daemonset-controller", "daemonset", daemonset::start),
    controller("statefulset-controller", "statefulset", statefulset::start),
    controller("job-controller", "job", job::start),
    controller("cronjob-controller", "cronjob", cronjob::start),
    controller(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        ttl_after_finished::start,
    ),
    controller("disruption-controller", "disruption", disruption::start),
    controller(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaling",
        horizontal_pod_autoscaler::start,
    ),
    controller(
        "endpointslice-controller",
        "endpointslice",
        endpointslice::start,
    ),
    controller(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        endpointslice_mirroring::start,
    ),
    controller("endpoints-controller", "endpoint", endpoints::start),
    controller("namespace-controller", "namespace", namespace::start),
    controller(
        "resourceclaim-controller",
        "resource-claim-controller",
        resource_claim::start,
    ),
    controller(
        "resourcequota-controller",
        "resourcequota",
        resourcequota::start,
    ),
    controller(
        "serviceaccount-controller",
        "serviceaccount",
        serviceaccount::start,
    ),
    controller(
        "serviceaccount-token-controller",
        "serviceaccount-token",
        serviceaccount_token::start,
    ),
    controller(
        "legacy-serviceaccount-token-cleaner-controller",
        "legacy-service-account-token-cleaner",
        legacy_token_cleaner::start,
    ),
    controller(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        root_ca::start,
    ),
    controller(
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        "",
        trust_bundle_publisher::start,
    ),
    controller(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        csr_approving::start,
    ),
    controller(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        csr_signing::start,
    ),
    controller(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        csr_cleaner::start,
    ),
    controller(BOOTSTRAP_SIGNER, "bootstrapsigner", bootstrap_signer::start),
    controller(TOKEN_CLEANER, "tokencleaner", token_cleaner::start),
    controller(
        "podcertificaterequest-cleaner-controller",
        "",
        pod_certificate_request_cleaner::start,
    ),
    controller(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        clusterrole_aggregation::start,
    ),
    controller(NODE_IPAM, "nodeipam", node_ipam::start),
    controller("ttl-controller", "ttl", node_ttl::start),
    controller("pod-garbage-collector-controller", "podgc", pod_gc::start),
    controller(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        persistent_volume::start,
    ),
    controller(
        "persistentvolume-attach-detach-controller",
        "attachdetach",
        attach_detach::start,
    ),
    controller(
        "persistentvolume-expander-controller",
        "persistentvolume-expander",
        volume_expand::start,
    ),
    controller(
        "device-taint-eviction-controller",
        "",
        device_taint_eviction::start,
    ),
    controller("service-cidr-controller", "", service_cidr::start),
    controller(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        pvc_protection::start,
    ),
    controller(
        "persistentvolume-protection-controller",
        "pv-protection",
        pv_protection::start,
    ),
    controller(
        "volumeattributesclass-protection-controller",
        "",
        vac_protection::start,
    ),
    controller(
        "validatingadmissionpolicy-status-controller",
        "",
        validatingadmissionpolicy_status::start,
    ),
    controller(
        "storage-version-migrator-controller",
        "svm",
        storage_version_migrator::start,
    ),
    controller(
        "ephemeral-volume-controller",
        "ephemeral-volume",
        ephemeral_volume::start,
    ),
    controller(
        "garbage-collector-controller",
        "garbagecollector",
        garbage_collector::start,
    ),
    controller(
        "node-lifecycle-controller",
        "nodelifecycle",
        node_lifecycle::start,
    ),
    controller("taint-eviction-controller", "", taint_eviction::start),
    controller("service-lb-controller", "service", service_lb::start),
];

const BOOTSTRAP_SIGNER: &str = "bootstrap-signer-controller";
const TOKEN_CLEANER: &str = "token-cleaner-controller";
const NODE_IPAM: &str = "node-ipam-controller";
/// Upstream's `*` does not mean these.
const OFF_BY_DEFAULT: [&str; 2] = [BOOTSTRAP_SIGNER, TOKEN_CLEANER];
/// Upstream's others, which may be told not to run. None of them runs in a cluster with upstream's defaults: the first four work for
/// features that are off in v1.37 (GenericWorkload, StorageVersionAPI, DRAResourcePoolStatus) or, selinux-warning, is not meant by `*`;
/// the last two need a cloud.
const ABSENT: [(&str, &str); 6] = [
    ("podgroup-protection-controller", ""),
    (
        "storageversion-garbage-collector-controller",
        "storage-version-gc",
    ),
    ("resourcepoolstatusrequest-controller", ""),
    ("selinux-warning-controller", ""),
    ("node-route-controller", "route"),
    ("cloud-node-lifecycle-controller", "cloud-node-lifecycle"),
];

/// Which controllers run; all of them by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Canonical names.
    enabled: Vec<&'static str>,
}

/// A name that means no controller here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("{0:?} is not in the list of known controllers")]
    Unknown(String),
    #[error("knarr has no {0}")]
    Absent(String),
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            enabled: CONTROLLERS.iter().map(|one| one.name).collect(),
        }
    }
}

impl Selection {
    /// Reads upstream's `--controllers`: `*` means all that are on by default, `name` one more, `-name` one less; of several words about
    /// one controller the first counts.
    ///
    /// # Errors
    /// [`SelectionError`].
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, SelectionError> {
        let mut said: Vec<(&'static str, bool)> = Vec::new();
        let mut all = false;
        for word in words {
            let (name, on) = match word.strip_prefix('-') {
                Some(name) => (name, false),
                None => (word, true),
            };
            if word == "*" {
                all = true;
            } else if let Some(name) = canonical(name) {
                said.push((name, on));
            } else if !is_absent(name) {
                return Err(SelectionError::Unknown(name.to_owned()));
            } else if on {
                return Err(SelectionError::Absent(name.to_owned()));
            }
        }
        let is_on = |name: &&'static str| {
            let first = said.iter().find(|(said, _)| said == name);
            first.map_or(all && !OFF_BY_DEFAULT.contains(name), |(_, on)| *on)
        };
        Ok(Self {
            enabled: CONTROLLERS
                .iter()
                .map(|one| one.name)
                .filter(is_on)
                .collect(),
        })
    }

    /// Without the one that gives nodes ranges of addresses (upstream's `--allocate-node-cidrs=false`).
    #[must_use]
    pub fn without_node_ipam(mut self) -> Self {
        self.enabled.retain(|name| *name != NODE_IPAM);
        self
    }

    /// The names of those that run, as `--controllers` has them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.enabled.iter().copied()
    }

    pub(crate) fn start(&self, context: &Context) {
        for one in CONTROLLERS {
            if self.enabled.contains(&one.name) {
                (one.start)(context);
            }
        }
    }
}

fn canonical(name: &str) -> Option<&'static str> {
    let is_it = |one: &&Controller| one.name == name || (one.alias == name && !name.is_empty());
    CONTROLLERS.iter().find(is_it).map(|one| one.name)
}

fn is_absent(name: &str) -> bool {
    let is_it = |(known, alias): &(&str, &str)| *known == name || *alias == name;
    !name.is_empty() && ABSENT.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<&'static str>, String> {
        let selection = Selection::of(text.split(','));
        selection
            .map(|selection| selection.enabled)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn words_mean_what_upstreams_do() {
        let all = Selection::default().enabled;
        let usual = all.len() - OFF_BY_DEFAULT.len();
        for (text, count, has, lacks) in [
            ("*", usual, "job-controller", BOOTSTRAP_SIGNER),
            (
                "*,bootstrapsigner,tokencleaner",
                usual + 2,
                BOOTSTRAP_SIGNER,
                "",
            ),
            ("*,-nodeipam", usual - 1, "job-controller", NODE_IPAM),
            (
                "*,-job,job",
                usual - 1,
                "cronjob-controller",
                "job-controller",
            ),
            ("job,-job", 1, "job-controller", "cronjob-controller"),
            ("-job-controller", 0, "", "cronjob-controller"),
            (
                "*,-route,-podgroup-protection-controller",
                usual,
                "job-controller",
                "",
            ),
        ] {
            let enabled = of(text).expect(text);
            assert_eq!(enabled.len(), count, "{text}");
            assert!(has.is_empty() || enabled.contains(&has), "{text}");
            assert!(!enabled.contains(&lacks), "{text}");
        }
    }

    #[test]
    fn names_of_none_are_refused() {
        for (text, why) in [
            ("*,jobs", "\"jobs\" is not in the list of known controllers"),
            ("", "\"\" is not in the list of known controllers"),
            ("*,route", "knarr has no route"),
        ] {
            assert_eq!(of(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn one_name_means_one_controller() {
        let mut names: Vec<&str> = CONTROLLERS
            .iter()
            .flat_map(|one| [one.name, one.alias])
            .chain(ABSENT.iter().flat_map(|(name, alias)| [*name, *alias]))
            .filter(|name| !name.is_empty())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn nodes_may_have_their_ranges_from_elsewhere() {
        let without = Selection::default().without_node_ipam();
        assert!(!without.enabled.contains(&NODE_IPAM));
        assert_eq!(without.enabled.len() + 1, CONTROLLERS.len());
    }
}
