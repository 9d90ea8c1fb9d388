//! How a machine becomes a node of a cluster, and stays one.
//!
//! ```text
//! token -> discovery: the authority, by its hash     (nothing secret is sent before that)
//!       -> request: a client certificate, by the token; then a server's, by that certificate
//!       -> membership: both on disk, rotated while the node runs
//!       -> remote: clients over HTTPS for all that runs on the node
//! ```
//!
//! The token is for the first start only: what it got is kept in the node's own directory, and a node that has its certificate needs
//! no token any more. Nor does it need a server to start with ([`join_or_wait`]): what it was told last is kept there, too, and it catches up
//! when one answers ([`rejoin`]). What runs beside the kubelet acts under service accounts; their tokens are asked for under the node's identity,
//! die with the Node object, and reach only what [`knarr_auth::node_accounts`] lists.
//!
//! A part that runs by itself, beside any API server, has a kubeconfig instead ([`kubeconfig`]): the same transport under the identity
//! that the file gives, and tokens of service accounts for the controllers.
//!
//! Rejected: a shared secret that every node keeps for ever (who steals one node has them all), certificates handed out by a server's
//! own API (upstream's signers are there, and upstream's kubelet joins by them, too).

mod accounts;
mod address;
mod certificate;
mod discovery;
mod error;
pub mod kubeconfig;
mod membership;
mod remote;
mod request;
mod rotation;
mod self_signed;
mod serving;
mod settings;
mod tls;
mod token;
mod transport;
mod version;

pub use address::{AddressError, ServerAddress};
pub use discovery::ClusterInfo;
pub use error::Error;
pub use kubeconfig::KubeconfigClients;
pub use membership::{Foreign, Joined, Membership, Options, join, join_or_wait, rejoin};
pub use remote::RemoteClients;
pub use rotation::{Kept, Order};
pub use self_signed::self_signed;
pub use settings::{ClusterSettings, SettingsError};
pub use token::{CaHash, JoinToken, TokenError};
