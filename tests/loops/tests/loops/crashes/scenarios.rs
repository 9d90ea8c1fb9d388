//! What each controller is tried with, by what it is about.

mod accounts;
mod certificates;
mod jobs;
mod nodes;
mod objects;
mod policies;
mod services;
mod volumes;
mod workloads;

use super::scenario::Scenario;

/// One of each controller.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(workloads::SCENARIOS);
    all.extend(jobs::SCENARIOS);
    all.extend(services::SCENARIOS);
    all.extend(nodes::SCENARIOS);
    all.extend(volumes::SCENARIOS);
    all.extend(certificates::SCENARIOS);
    all.extend(accounts::SCENARIOS);
    all.extend(policies::SCENARIOS);
    all.extend(objects::SCENARIOS);
    all
}
