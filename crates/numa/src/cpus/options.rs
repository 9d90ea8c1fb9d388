//! Options of the static policy (`cpuManagerPolicyOptions`).

use std::collections::BTreeMap;

use crate::merge::switch;

const WHOLE_CORES: &str = "full-pcpus-only";
const ACROSS_NODES: &str = "distribute-cpus-across-numa";
const STRICT: &str = "strict-cpu-reservation";
const BY_CACHE: &str = "prefer-align-cpus-by-uncorecache";
/// They need the gate `CPUManagerPolicyAlphaOptions`, which is off.
const ALPHA: [&str; 2] = ["align-by-socket", "distribute-cpus-across-cores"];

/// What is asked of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A core is one container's, or shared.
    pub whole_cores: bool,
    /// What does not fit on one NUMA node comes from several evenly.
    pub across_nodes: bool,
    /// The reserved CPUs are not shared.
    pub strict_reservation: bool,
    /// CPUs that share a cache are preferred.
    pub by_cache: bool,
}

impl Options {
    /// From a configuration.
    ///
    /// # Errors
    /// What upstream says of options that it does not take.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in options {
            let field = match name.as_str() {
                WHOLE_CORES => &mut parsed.whole_cores,
                ACROSS_NODES => &mut parsed.across_nodes,
                STRICT => &mut parsed.strict_reservation,
                BY_CACHE => &mut parsed.by_cache,
                name if ALPHA.contains(&name) => {
                    return Err(format!(
                        "CPU Manager Policy Alpha-level Options not enabled, but option {name:?} provided"
                    ));
                }
                _ => return Err(format!("unknown CPU Manager Policy option: {name:?}")),
            };
            *field = switch(name, value)?;
        }
        if parsed.by_cache && parsed.across_nodes {
            return Err(format!(
                "static policy options {BY_CACHE} and {ACROSS_NODES} can not be used at the same time"
            ));
        }
        Ok(parsed)
    }
}
