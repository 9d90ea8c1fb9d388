//! Cluster DNS: services and pods, with upstream forwarding
