//! End-to-end tests: the real binary in network namespaces of its own, the real kubectl of every version found, and a
//! kube-rs client. As root; elsewhere they say so and pass. One test has one cluster, since a cluster takes longer than
//! most of what is asked of it.
//!
//! Environment: `KNARR_BIN` (another binary), `KNARR_IMAGES` (ready image archives), `KNARR_KUBECTLS` (more kubectls),
//! `KNARR_CRASH_CYCLES` (how often the crash test kills, 20), `KNARR_KEEP_LOGS` (a directory for the logs of failures).

#![allow(clippy::print_stdout)]

mod account_tokens;
mod admission_policies;
mod aggregation;
mod announced;
mod api;
mod applying;
mod audit;
mod cascades;
mod certificates;
mod claims;
mod cli;
mod crash;
mod crons;
mod csi;
mod custom;
mod daemons;
mod devices;
mod disks;
mod dual_stack;
mod evictions;
mod example;
mod foreign_runtime;
mod gateway;
mod housekeeping;
mod identity;
mod images;
mod ingress;
mod jobs;
mod kubelet_config;
mod logs;
mod moved;
mod neighbours;
mod network_policies;
mod nodes;
mod nodes_traffic;
mod parts;
mod pods;
mod policies;
mod resilience;
mod rotation;
mod running_pods;
mod scheduling;
mod servers;
mod services;
mod simulated;
mod stateful;
mod static_pods;
mod strict_hosts;
mod support;
mod usage;
mod users;
mod webhooks;
