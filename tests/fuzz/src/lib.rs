//! Fuzzing on stable Rust: inputs are mutated from a kept corpus, and an input that is answered in a way in which none before it
//! was joins the corpus.
//!
//! A finding is a panic, an input that takes longer than [`engine::SLOW`], or what a target calls wrong. It is written to
//! `findings/TARGET/`. Builds are debug builds: every sum is checked.
//!
//! Rejected: libFuzzer and AFL, which want clang or a nightly compiler. Coverage of edges would be a better guide than answers; on
//! stable it costs a build of everything with other flags.

pub mod engine;
mod mutate;
pub mod shape;
pub mod targets;
