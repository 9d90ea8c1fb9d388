//! Images: references to configurations, configurations to unpacked layers.
//!
//! Layers are unpacked once, each in a directory named by its diff id (the digest of the uncompressed tar), so that images
//! share them and a container's root is an overlay of directories. What stays on disk of an image is its configuration and
//! one record; compressed layers are not kept. An image is its configuration's digest; references point to it and move.
//!
//! [`ImageStore::unpack_layer`] and [`ImageStore::commit`] are all that an importer or a puller needs: first the layers,
//! then the image, with the layers held meanwhile. A layer that no image names is removed when an image is, when a pull
//! fails, or at the next start.

// Archives and registries say how long everything is.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod archive;
pub mod decompress;
mod extract;
mod hashed;
mod holds;
pub mod implied;
mod metered;
mod platform;
pub mod pull;
pub(crate) mod room;
mod store;
mod usage;
pub mod user;

pub use archive::{ImportError, Imported, NamedImage};
pub use implied::KeptDirectory;
pub use knarr_cri::reference::{self, Reference, ReferenceError};
pub use store::{Image, ImageConfig, ImageStore, NewImage, ProcessConfig, StoreError};
