//! Lists of `metav1.Condition`, as upstream's `meta.SetStatusCondition` keeps them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets the condition of a type. Its transition time changes with its status only. True where anything changed.
pub(crate) fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let wanted = Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    };
    let Some(known) = conditions.iter_mut().find(|known| known.type_ == type_) else {
        conditions.push(wanted);
        return true;
    };
    let since = match known.status == wanted.status {
        true => known.last_transition_time.clone(),
        false => wanted.last_transition_time.clone(),
    };
    let wanted = Condition {
        last_transition_time: since,
        ..wanted
    };
    let changed = *known != wanted;
    *known = wanted;
    changed
}

pub(crate) fn is_true(conditions: &[Condition], type_: &str) -> bool {
    let of = conditions.iter().find(|known| known.type_ == type_);
    of.is_some_and(|known| known.status == "True")
}
