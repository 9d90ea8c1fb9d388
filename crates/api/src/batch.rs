//! batch/v1.

pub mod job;

#[cfg(test)]
mod tests;
