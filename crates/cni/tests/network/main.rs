//! Networks of nodes and the ways between them, with real packets between network namespaces. Needs root; skips with a reason
//! otherwise.

mod cluster;
mod kit;
mod local;
mod node;
mod peers;
