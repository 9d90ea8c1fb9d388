//! Suites that drive the real binary from outside, as its users do: see `tests/e2e`.
