//! What a request consumes of a device that several may have a part of (upstream's consumable capacity).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::resource::v1::{CapacityRequestPolicy, DeviceCapacity},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_meta::Quantity;

use crate::usage::Amounts;

/// A capacity of a device.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    pub value: Quantity,
    policy: Option<Policy>,
}

/// What amounts may be had of it.
#[derive(Clone, Debug)]
struct Policy {
    default: Option<Quantity>,
    range: Option<Range>,
    /// Ascending, as validation has it.
    values: Vec<Quantity>,
}

#[derive(Clone, Debug)]
struct Range {
    min: Quantity,
    max: Option<Quantity>,
    step: Option<Quantity>,
}

/// Unreadable quantities count as zero: validation has refused them before.
pub(crate) fn parse(quantity: &ApiQuantity) -> Quantity {
    Quantity::parse(&quantity.0).unwrap_or_default()
}

impl Capacity {
    pub fn of(capacity: &DeviceCapacity) -> Self {
        Self {
            value: parse(&capacity.value),
            policy: capacity.request_policy.as_ref().map(Policy::of),
        }
    }

    /// What a request takes of it: what it asks for, rounded up to what may be had.
    fn consumed(&self, requested: Option<Quantity>) -> Result<Quantity, String> {
        let default = self.policy.as_ref().and_then(|policy| policy.default);
        let Some(requested) = requested else {
            return Ok(default.unwrap_or(self.value));
        };
        match &self.policy {
            Some(Policy {
                range: Some(range), ..
            }) => range.round_up(requested),
            Some(policy) => {
                let mut values = policy.values.iter();
                let enough = values.find(|value| requested <= **value);
                Ok(enough.copied().unwrap_or(requested))
            }
            None => Ok(requested),
        }
    }

    /// Whether such an amount may not be had.
    fn refuses(&self, amount: Quantity) -> bool {
        let Some(policy) = &self.policy else {
            return false;
        };
        if policy.default == Some(amount) {
            return false;
        }
        match &policy.range {
            Some(range) => !range.allows(amount),
            None => !policy.values.is_empty() && !policy.values.contains(&amount),
        }
    }
}

impl Policy {
    fn of(policy: &CapacityRequestPolicy) -> Self {
        let range = policy.valid_range.as_ref().map(|range| Range {
            min: parse(&range.min),
            max: range.max.as_ref().map(parse),
            step: range.step.as_ref().map(parse),
        });
        Self {
            default: policy.default.as_ref().map(parse),
            range,
            values: policy.valid_values.iter().flatten().map(parse).collect(),
        }
    }
}

/// Thousandths, where the amount is a whole number of them that fits.
fn milli(amount: Quantity) -> Option<i64> {
    let milli = amount.milli_value();
    (Quantity::from_milli(milli, amount.format()) == amount).then_some(milli)
}

fn whole(amount: Quantity) -> Option<i64> {
    let value = amount.value();
    // The value is capped, and rounded up.
    (Quantity::new(value, amount.format()) >= amount).then_some(value)
}

impl Range {
    /// Thousandths are counted where all bounds are whole numbers of them, whole units otherwise.
    fn counts_milli(&self) -> bool {
        let bounds = [Some(self.min), self.max];
        let bounds = bounds
            .into_iter()
            .flatten()
            .all(|bound| milli(bound).is_some());
        bounds
            && self
                .step
                .is_none_or(|step| milli(step).is_some_and(|step| step >= 1))
    }

    fn round_up(&self, requested: Quantity) -> Result<Quantity, String> {
        if requested < self.min {
            return Ok(self.min);
        }
        let Some(step) = self.step else {
            return Ok(requested);
        };
        let in_milli = self.counts_milli();
        let read = if in_milli { milli } else { whole };
        let why = || format!("request {requested} cannot be represented in steps of {step}");
        let wanted = read(requested).ok_or_else(why)?;
        let (first, by) = (read(self.min).ok_or_else(why)?, read(step).ok_or_else(why)?);
        let steps = wanted.checked_sub(first).and_then(|above| {
            let whole = above.checked_div(by)?;
            let rest = above.checked_rem(by)?;
            whole.checked_add(i64::from(rest > 0))
        });
        let rounded = steps.and_then(|steps| steps.checked_mul(by)?.checked_add(first));
        let rounded = rounded.ok_or_else(why)?;
        Ok(match in_milli {
            true => Quantity::from_milli(rounded, step.format()),
            false => Quantity::new(rounded, step.format()),
        })
    }

    fn allows(&self, amount: Quantity) -> bool {
        if self.max.is_some_and(|max| amount > max) {
            return false;
        }
        let Some(step) = self.step else {
            return true;
        };
        let read = if self.counts_milli() { milli } else { whole };
        let above = |amount: i64| {
            amount
                .checked_sub(read(self.min)?)?
                .checked_rem(read(step)?)
        };
        read(amount).and_then(above) == Some(0)
    }
}

/// What a request takes of each capacity of a device; `None` where the device does not have it, or `used` leaves too little of it.
///
/// # Errors
/// Where an amount cannot be counted: no other device will do either.
pub(crate) fn consume<'a>(
    capacities: &BTreeMap<String, Capacity>,
    requested: &Amounts,
    used: impl Iterator<Item = &'a Amounts> + Clone,
) -> Result<Option<Amounts>, String> {
    if requested.keys().any(|name| !capacities.contains_key(name)) {
        return Ok(None);
    }
    let mut consumed = Amounts::new();
    for (name, capacity) in capacities {
        let amount = capacity.consumed(requested.get(name).copied());
        let amount = amount.map_err(|why| format!("capacity {name:?}: {why}"))?;
        if amount.is_negative() {
            return Err(format!(
                "capacity {name:?}: consumed capacity must not be negative"
            ));
        }
        consumed.insert(name.clone(), amount);
    }
    for (name, capacity) in capacities {
        let amount = consumed.get(name).copied().unwrap_or_default();
        if capacity.refuses(amount) {
            return Ok(None);
        }
        let mut sum = amount;
        for used in used.clone() {
            sum += used.get(name).copied().unwrap_or_default();
        }
        if sum > capacity.value {
            return Ok(None);
        }
    }
    Ok(Some(consumed))
}

#[cfg(test)]
mod tests;
