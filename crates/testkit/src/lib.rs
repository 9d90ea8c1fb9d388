//! Clusters in network namespaces, test images, waits with deadlines.

pub mod image;
