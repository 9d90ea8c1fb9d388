//! Devices and claims as those see them who bring them together: the scheduler, the controllers and the kubelet.
//!
//! ```text
//! ResourceSlices, DeviceTaintRules --> Inventory --.
//! allocations of all claims ---------> Usage -------+--> Allocator::allocate(node) --> an AllocationResult a claim
//! claims, DeviceClasses -------------> requests ---'
//! ```
//!
//! They must agree on which claims a pod has ([`claim`]), what a taint does ([`taints`]) and which devices a claim gets
//! ([`Allocator`]). All of it is pure: objects in, answers out. The rules are upstream's structured parameters with the features
//! that v1.37 has on by default: prioritized lists, admin access, taints, shared counters, consumable capacity, binding conditions.

mod allocator;
mod answers;
mod budget;
mod candidate;
mod capacity;
pub mod claim;
mod constraints;
mod counters;
pub mod extended;
mod feasible;
mod inventory;
pub mod nodes;
mod pools;
mod request;
mod result;
mod search;
mod selectors;
pub mod taints;
mod usage;

pub use allocator::{Allocator, Error};
pub use budget::Budget;
pub use inventory::Inventory;
pub use selectors::Selectors;
pub use usage::{DeviceId, Usage};

/// Devices that a claim may have (upstream `AllocationResultsMaxSize`).
pub const MAX_DEVICES: usize = 32;
/// Claims of a pod, their requests, and devices that are looked for together. The search nests once for each of them, on the stack of
/// whoever asks; upstream's stacks grow.
const MAX_CLAIMS: usize = 32;
const MAX_REQUESTS: usize = 256;
const MAX_DEVICES_TOGETHER: usize = 128;
/// Different selectors of a pod's requests and their classes, and the bytes of them all: compiling takes milliseconds a kilobyte.
const MAX_SELECTORS: usize = 256;
const MAX_SELECTOR_BYTES: usize = 128 * 1024;
/// Alternatives of a request (upstream `FirstAvailableDeviceRequestMaxSize`).
pub const MAX_ALTERNATIVES: usize = 8;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
