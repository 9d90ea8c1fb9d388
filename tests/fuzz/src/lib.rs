//! Fuzzing on stable Rust: inputs are mutated from a kept corpus, and an input that is answered in a way in which none before it
//! was joins the corpus.
//!
//! ```text
//! x fuzz -> workers: a process a target -> engine: corpus -> mutate -> targets: a property of what comes back
//! tests/corpus.rs: a test a target -----^                 ^-- what is answered as nothing before it was
//! ```
//!
//! A finding is a panic, an input that takes longer than [`engine::SLOW`], one that its process does not survive (memory has a
//! limit), or what a target calls wrong. It is written to `findings/TARGET/`. Builds are debug builds: every sum is checked.
//!
//! Rejected: libFuzzer and AFL, which want clang or a nightly compiler. Coverage of edges would be a better guide than answers; on
//! stable it costs a build of everything with other flags.

pub mod current;
pub mod engine;
mod inputs;
mod mutate;
pub mod shape;
pub mod targets;
