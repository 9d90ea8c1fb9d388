//! The status of an autoscaler while it is being made.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition as Condition,
    HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const ABLE_TO_SCALE: &str = "AbleToScale";
pub(super) const SCALING_ACTIVE: &str = "ScalingActive";
pub(super) const SCALING_LIMITED: &str = "ScalingLimited";
pub(super) const SCALED_TO_ZERO: &str = "ScaledToZero";

/// What the status was, with the conditions of this time.
pub(super) struct Draft {
    status: HorizontalPodAutoscalerStatus,
    generation: Option<i64>,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(autoscaler: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        Self {
            status: autoscaler.status.clone().unwrap_or_default(),
            generation: autoscaler.metadata.generation,
            now,
        }
    }

    /// Sets a condition; its transition time changes with its status only.
    pub(super) fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let conditions = self.status.conditions.get_or_insert_default();
        let at = match conditions.iter().position(|known| known.type_ == type_) {
            Some(at) => at,
            None => {
                conditions.push(Condition {
                    type_: type_.to_owned(),
                    ..Condition::default()
                });
                conditions.len() - 1
            }
        };
        let status = if status { "True" } else { "False" };
        let condition = &mut conditions[at];
        if condition.status != status {
            condition.last_transition_time = Some(Time(self.now));
        }
        condition.status = status.to_owned();
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.to_owned());
    }

    pub(super) fn is_true(&self, type_: &str) -> bool {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.any(|known| known.type_ == type_ && known.status == "True")
    }

    /// With the replicas that are there. What is wanted stays where it is not known.
    pub(super) fn observed(&mut self, current: i32, metrics: Vec<MetricStatus>) {
        // The API leaves out what is zero: said here it would be written again each time.
        self.status.current_replicas = (current != 0).then_some(current);
        self.status.current_metrics = (!metrics.is_empty()).then_some(metrics);
        self.status.observed_generation = self.generation;
    }

    pub(super) fn desired(&mut self, replicas: i32, scaled: bool) {
        self.status.desired_replicas = replicas;
        if scaled {
            self.status.last_scale_time = Some(Time(self.now));
        }
    }

    pub(super) fn finish(self) -> HorizontalPodAutoscalerStatus {
        self.status
    }
}
