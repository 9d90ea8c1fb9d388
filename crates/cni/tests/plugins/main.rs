//! The plugins as runtimes call them, in network namespaces of their own. Needs root; skips with a reason otherwise.

mod bandwidth;
mod kit;
mod loopback;
mod routed;
