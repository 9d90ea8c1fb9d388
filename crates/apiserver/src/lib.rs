//! The API server: HTTP, authentication, authorization, admission, REST verbs, watch cache
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod pki;
pub mod request;
pub mod tokens;
