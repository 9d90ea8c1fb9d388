//! Volumes and claims as those see them who bring them together: the binder, the scheduler, the provisioner and the kubelet.
//!
//! They talk through annotations ([`names`]) and must agree on what a claim asks for ([`claim`]), what a volume is
//! ([`volume`]) and which volumes a claim can have ([`matching`]). All of it is pure: objects in, answers out.

pub mod claim;
pub mod csi;
pub mod matching;
pub mod names;
pub mod pod;
pub mod volume;

#[cfg(test)]
mod fixtures;
