//! Which CPUs and memory of a node's NUMA nodes containers get: upstream's CPU, memory and topology managers, without the kubelet.
//!
//! ```text
//! /sys --> Topology, memory of nodes --.
//! a pod's demands --> hints of CPUs, memory (and of the kubelet's devices) --> merge by policy --> allocate --> state --> checkpoint
//! ```
//!
//! All of it is pure but for reading `/sys`, which tests replace by machines that they make up. The rules are those of v1.37 with the
//! options that are on by default; the states on disk are upstream's to the byte, so that a kubelet of either kind goes on with what the
//! other left. What v1.37 has off by default is not here: pods with resources of their own get nothing exclusively.

pub mod checkpoint;
pub mod cpus;
mod cpuset;
mod demand;
pub mod discover;
mod hint;
pub mod memory;
pub mod merge;
mod take;
mod topology;

pub use cpuset::CpuSet;
pub use demand::{Demand, Pod, Role};
pub use hint::{Hint, Hints, Mask};
pub use topology::{Cpu, Topology};
