//! What the devices of a claim must have in common, or must not.

use k8s_openapi::api::resource::v1::{DeviceAttribute, DeviceConstraint};

use crate::{
    inventory::{Device, Slice},
    request::Alternative,
};

enum Rule {
    Match,
    Distinct,
}

/// A constraint, and the values of the devices chosen so far. Once it is not met more devices do not help.
pub(crate) struct Constraint<'c> {
    rule: Rule,
    attribute: &'c str,
    /// Empty: all.
    requests: &'c [String],
    values: Vec<DeviceAttribute>,
}

impl<'c> Constraint<'c> {
    /// `None` for one of a kind that is not known.
    pub fn of(constraint: &'c DeviceConstraint) -> Option<Self> {
        let (rule, attribute) = match (&constraint.match_attribute, &constraint.distinct_attribute)
        {
            (Some(attribute), _) => (Rule::Match, attribute),
            (None, Some(attribute)) => (Rule::Distinct, attribute),
            (None, None) => return None,
        };
        Some(Self {
            rule,
            attribute,
            requests: constraint.requests.as_deref().unwrap_or_default(),
            values: Vec::new(),
        })
    }

    fn concerns(&self, alternative: &Alternative) -> bool {
        let mut requests = self.requests.iter();
        self.requests.is_empty()
            || requests
                .any(|request| *request == alternative.request || *request == alternative.name)
    }

    /// Chooses a device. Whether it is met then; the device is not chosen otherwise.
    pub fn add(&mut self, alternative: &Alternative, slice: &Slice, device: &Device) -> bool {
        if !self.concerns(alternative) {
            return true;
        }
        let Some(value) = attribute(slice, device, self.attribute) else {
            return false;
        };
        let met = match self.rule {
            Rule::Match => self.values.first().is_none_or(|first| first == value),
            Rule::Distinct => !self.values.contains(value),
        };
        if met {
            self.values.push(value.clone());
        }
        met
    }

    /// Takes back the device that was chosen last.
    pub fn remove(&mut self, alternative: &Alternative) {
        if self.concerns(alternative) {
            self.values.pop();
        }
    }
}

/// An attribute by its full name: those of the driver's own domain are named without it, too.
fn attribute<'s>(slice: &'s Slice, device: &Device, name: &str) -> Option<&'s DeviceAttribute> {
    let attributes = slice.api(device)?.attributes.as_ref()?;
    let short = || {
        let (domain, id) = name.split_once('/')?;
        (domain == slice.pool.driver).then(|| attributes.get(id))?
    };
    attributes.get(name).or_else(short)
}
