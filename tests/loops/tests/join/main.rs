//! Machines that join the real server over TLS, and what thieves of their credentials can do.

mod absent;
mod cluster;
mod imposter;
mod joining;
mod rotation;
mod stolen_node;
mod stolen_token;
