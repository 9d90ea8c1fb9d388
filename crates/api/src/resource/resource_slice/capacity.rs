//! Capacities of devices, and how much of one a claim may have.

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    object::{at, list_at, struct_at},
};
use serde_json::Value;

use crate::{resource::bounded, validate::NOT_NEGATIVE};

const MAX_VALID_VALUES: usize = 10;

/// A quantity that the schema has seen: a text, or a number.
fn quantity(value: &Value) -> Quantity {
    let parsed = match value {
        Value::String(text) => Quantity::parse(text),
        other => Quantity::parse(&other.to_string()),
    };
    parsed.unwrap_or_default()
}

fn given(owner: &Value, path: &[&str]) -> Option<Quantity> {
    let value = at(owner, path).filter(|value| !value.is_null())?;
    Some(quantity(value))
}

fn refuse(amount: Quantity, why: String, path: &Path, errors: &mut ErrorList) {
    errors.push(Error::invalid(path, amount.to_string(), why));
}

/// One capacity of a device that several claims may share, or not.
pub(super) fn validate(capacity: &Value, shared: bool, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = struct_at(capacity, &["requestPolicy"]) else {
        return;
    };
    let path = path.child("requestPolicy");
    if !shared {
        let why = "allowMultipleAllocations must be true";
        errors.push(Error::forbidden(&path, why));
        return;
    }
    let max = given(capacity, &["value"]).unwrap_or_default();
    let default = given(policy, &["default"]);
    let values = list_at(policy, &["validValues"]);
    match (values, struct_at(policy, &["validRange"])) {
        ([_, ..], Some(_)) => errors.push(Error::forbidden(
            &path,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        )),
        ([_, ..], None) => match default {
            None => errors.push(Error::required(
                &path.child("default"),
                "required when validValues is defined",
            )),
            Some(default) => {
                validate_values(values, default, max, &path.child("validValues"), errors);
            }
        },
        ([], Some(range)) => match default {
            None => errors.push(Error::required(
                &path.child("default"),
                "required when validRange is defined",
            )),
            Some(default) => {
                Range::of(range, default, max).validate(&path.child("validRange"), errors);
            }
        },
        ([], None) => {}
    }
}

fn validate_values(
    values: &[Value],
    default: Quantity,
    max: Quantity,
    path: &Path,
    errors: &mut ErrorList,
) {
    let amounts: Vec<Quantity> = values.iter().map(quantity).collect();
    for (index, pair) in amounts.windows(2).enumerate() {
        if let [before, after] = pair
            && before > after
        {
            let why = "values must be sorted in ascending order".to_owned();
            refuse(*after, why, &path.index(index + 1), errors);
        }
    }
    let key = |value: &Value| quantity(value).to_string();
    bounded::set_of_keys(
        values,
        MAX_VALID_VALUES,
        path,
        errors,
        key,
        |value, path, errors| {
            let amount = quantity(value);
            if amount > max {
                let why = format!("option is larger than capacity value: {max}");
                refuse(amount, why, path, errors);
            }
        },
    );
    let known = amounts.len() <= MAX_VALID_VALUES && amounts.contains(&default);
    if !known {
        let why = "default value is not valid according to the requestPolicy".to_owned();
        refuse(default, why, path, errors);
    }
}

/// Amounts from `min` to `max` in steps.
struct Range {
    default: Quantity,
    capacity: Quantity,
    min: Option<Quantity>,
    max: Option<Quantity>,
    step: Option<Quantity>,
}

impl Range {
    fn of(range: &Value, default: Quantity, capacity: Quantity) -> Range {
        let given = |field| given(range, &[field]);
        Range {
            default,
            capacity,
            min: given("min"),
            max: given("max"),
            step: given("step"),
        }
    }

    fn validate(&self, path: &Path, errors: &mut ErrorList) {
        let (default, capacity) = (self.default, self.capacity);
        let Some(min) = self.min else {
            let why = "required when validRange is defined";
            errors.push(Error::required(&path.child("min"), why));
            return;
        };
        let larger = |what: &str| format!("{what} is larger than capacity value: {capacity}");
        if min > capacity {
            refuse(min, larger("min"), &path.child("min"), errors);
        }
        if default < min {
            let why = format!("default is less than min: {min}");
            refuse(default, why, &path.child("default"), errors);
        }
        if let Some(max) = self.max {
            let at = path.child("max");
            if min > max {
                refuse(min, format!("min is larger than max: {max}"), &at, errors);
            }
            if max > capacity {
                refuse(max, larger("max"), &at, errors);
            }
            if default > max {
                let why = format!("default is more than max: {max}");
                refuse(default, why, &path.child("default"), errors);
            }
        }
        let milli = self.bounds().any(|(_, amount)| !amount.is_integer());
        if milli && !self.validate_milli(path, errors) {
            return;
        }
        if let Some(step) = self.step {
            self.validate_step(min, step, milli, path, errors);
        }
    }

    fn bounds(&self) -> impl Iterator<Item = (&'static str, Quantity)> {
        let fields = [
            ("default", Some(self.default)),
            ("min", self.min),
            ("max", self.max),
            ("step", self.step),
        ];
        fields
            .into_iter()
            .filter_map(|(name, amount)| Some((name, amount?)))
    }

    /// Whether all amounts can be counted in thousandths.
    fn validate_milli(&self, path: &Path, errors: &mut ErrorList) -> bool {
        let mut exact = true;
        for (name, amount) in self.bounds() {
            if Quantity::from_milli(amount.milli_value(), amount.format()) != amount {
                let why = "value cannot be represented as a milli value".to_owned();
                refuse(amount, why, &path.child(name), errors);
                exact = false;
            }
        }
        exact
    }

    fn validate_step(
        &self,
        min: Quantity,
        step: Quantity,
        milli: bool,
        path: &Path,
        errors: &mut ErrorList,
    ) {
        let at = path.child("step");
        if step.is_zero() || step.is_negative() {
            refuse(step, "must be greater than zero".to_owned(), &at, errors);
            return;
        }
        let first = min + step;
        if first > self.capacity {
            let capacity = self.capacity;
            let why = format!("one step {first} is larger than capacity value: {capacity}");
            refuse(step, why, &at, errors);
        }
        if !milli && !self.validate_whole(path, errors) {
            return;
        }
        let count = |amount: Quantity| {
            i128::from(if milli {
                amount.milli_value()
            } else {
                amount.value()
            })
        };
        for amount in [Some(self.default), self.max].into_iter().flatten() {
            let above = count(amount) - count(min);
            if above.checked_rem(count(step)).is_none_or(|rest| rest != 0) {
                let why = format!("value is not a multiple of a given step ({step}) from ({min})");
                refuse(amount, why, &at, errors);
            }
        }
    }

    /// Whether all amounts are numbers of 63 bits.
    fn validate_whole(&self, path: &Path, errors: &mut ErrorList) -> bool {
        let largest = Quantity::new(i64::MAX, knarr_meta::quantity::Format::DecimalSi);
        let mut fits = true;
        for (name, amount) in self.bounds() {
            let why = if amount.is_negative() {
                NOT_NEGATIVE.to_owned()
            } else if amount > largest {
                format!("must not be larger than {}", i64::MAX)
            } else {
                continue;
            };
            refuse(amount, why, &path.child(name), errors);
            fits = false;
        }
        fits
    }
}
