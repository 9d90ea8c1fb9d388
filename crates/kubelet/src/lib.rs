//! The kubelet: pod workers, probes, volumes, images, status, node lease, node server
