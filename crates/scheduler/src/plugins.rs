//! One plugin a file, under upstream's names.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced;
mod node_resources_fit;
mod node_unschedulable;
mod selector_spread;
mod taint_toleration;
mod unsupported;

use crate::framework::Plugins;

/// The plugins of upstream's default profile, in its order (cheap ones first) and with its weights.
pub fn default_profile() -> Plugins {
    Plugins {
        filters: vec![
            Box::new(unsupported::Unsupported),
            Box::new(node_unschedulable::NodeUnschedulable),
            Box::new(node_name::NodeName),
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_ports::NodePorts),
            Box::new(node_resources_fit::NodeResourcesFit),
        ],
        scores: vec![
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_resources_fit::NodeResourcesFit),
            Box::new(node_resources_balanced::NodeResourcesBalancedAllocation),
            Box::new(selector_spread::SelectorSpread),
        ],
    }
}

#[cfg(test)]
mod tests;
