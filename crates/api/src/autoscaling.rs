//! autoscaling/v2, served as autoscaling/v1 too.

pub mod horizontal_pod_autoscaler;
