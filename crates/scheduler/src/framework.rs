//! The extension points a plugin may fill, named as upstream's.

use crate::{pod_info::PodInfo, snapshot::NodeInfo};

/// Scores go from 0 to this (upstream `framework.MaxNodeScore`).
pub const MAX_SCORE: i64 = 100;

/// Rules a node out, with reasons as upstream words them: they are what `kubectl describe pod` shows.
pub trait Filter: Send + Sync {
    fn name(&self) -> &'static str;
    /// Adds a reason for each thing that does not fit.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>);
}

/// Ranks the nodes that fit.
pub trait Score: Send + Sync {
    fn name(&self) -> &'static str;
    /// Any number; [`Score::normalize`] brings them into range.
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64;
    /// Brings the scores of all nodes into 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}
    fn weight(&self) -> i64 {
        1
    }
}

/// Scales so that the highest score becomes [`MAX_SCORE`]; `reverse` where fewer is better.
pub fn normalize_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if max == 0 {
            0
        } else {
            *score * MAX_SCORE / max
        };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// The plugins of a scheduler.
pub struct Plugins {
    pub filters: Vec<Box<dyn Filter>>,
    pub scores: Vec<Box<dyn Score>>,
}
