//! The embedded CRI runtime: images, snapshots, sandboxes, streaming
