//! What evaluation costs.
//!
//! Two meters run beside each other. Units are cel-go's (`interpreter/runtimecost.go`, and Kubernetes' `pkg/cel/library/cost.go`
//! for its libraries): an expression that upstream evaluates within its limits is evaluated here. They are a model, which does not
//! count all that is done: comparing two lists costs a tenth of their length, whatever is inside, and joining two is free. So work
//! is counted as well, as it is done: by nodes that are looked at, bytes that are read, and what is made. Whoever walks a value
//! takes a [`Cost`], and there is no other way to walk one: values share parts, and a walk of what is small in memory may have no
//! end.

/// The most units that one expression may cost, as upstream's `PerCallLimit`.
pub const PER_CALL: u64 = 1_000_000;
/// The most units that all rules of an object may cost, as upstream's `RuntimeCELCostBudget`.
pub const PER_OBJECT: u64 = 10_000_000;

/// Steps of work that there are for a unit of cost. A unit is 50 to 100 ns upstream, a step about 10 ns here.
const STEPS_PER_UNIT: u64 = 10;
/// Steps that are paid with a unit, for what it takes to come to it. The others are for what is done then.
const STEPS_PAID_WITH_UNIT: u64 = 4;
/// Steps that are done without leaving the thread of the request: about a millisecond.
const INLINE_STEPS: u64 = 100_000;
/// What an element of a list or an entry of a map costs that is made: mostly for its memory, of about 50 bytes.
const ELEMENT_STEPS: u64 = 20;
/// Bytes that are compared or copied in a step, and that are looked at one by one.
const COMPARED_BYTES: u64 = 64;
const SCANNED_BYTES: u64 = 8;

/// A tenth, rounded up: what going through so many characters costs.
pub fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// Units and steps that are left.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    units: u64,
    steps: u64,
}

/// There are none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Units.
    Cost,
    /// Steps.
    Work,
}

impl Cost {
    /// Of so many units, and as much work as upstream does for them.
    pub fn new(units: u64) -> Cost {
        Cost {
            units,
            steps: units.saturating_mul(STEPS_PER_UNIT),
        }
    }

    /// Of so many units, but only as much work as holds up nobody.
    pub(crate) fn inline(units: u64) -> Cost {
        let all = Cost::new(units);
        Cost {
            steps: all.steps.min(INLINE_STEPS),
            ..all
        }
    }

    /// Another budget of units, for the same work.
    #[must_use]
    pub fn with_units(&self, units: u64) -> Cost {
        Cost { units, ..*self }
    }

    /// What one expression may use of these.
    #[must_use]
    pub fn call(&self) -> Cost {
        self.with_units(self.units.min(PER_CALL))
    }

    /// Units that are left.
    pub fn left(&self) -> u64 {
        self.units
    }

    /// Whether more was to be done than there are steps.
    pub fn is_out_of_work(&self) -> bool {
        self.steps == 0
    }

    /// Pays units of upstream's, and the work that they stand for.
    ///
    /// # Errors
    /// Where there are less; nothing is left then.
    pub fn pay(&mut self, units: u64) -> Result<(), Exceeded> {
        self.pay_units(units)?;
        self.steps(units.saturating_mul(STEPS_PAID_WITH_UNIT))
    }

    /// Pays units for what is no work here.
    pub(crate) fn pay_units(&mut self, units: u64) -> Result<(), Exceeded> {
        match self.units.checked_sub(units) {
            Some(left) => {
                self.units = left;
                Ok(())
            }
            None => {
                self.units = 0;
                Err(Exceeded::Cost)
            }
        }
    }

    /// Pays steps of work.
    pub(crate) fn steps(&mut self, steps: u64) -> Result<(), Exceeded> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(Exceeded::Work)
            }
        }
    }

    /// Pays for bytes that are compared or found in one go.
    pub(crate) fn compare(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.steps((bytes as u64 / COMPARED_BYTES).saturating_add(1))
    }

    /// Pays for bytes that are looked at one by one.
    pub(crate) fn scan(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.steps((bytes as u64 / SCANNED_BYTES).saturating_add(1))
    }

    /// Pays for bytes that are made.
    pub(crate) fn make(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.steps((bytes as u64).saturating_add(1))
    }

    /// Pays for elements or entries that are made.
    pub(crate) fn make_elements(&mut self, count: usize) -> Result<(), Exceeded> {
        self.steps((count as u64).saturating_mul(ELEMENT_STEPS))
    }

    /// Takes what a call has used.
    pub fn settle(&mut self, before: Cost, after: Cost) {
        let used = before.units.saturating_sub(after.units);
        self.units = self.units.saturating_sub(used);
        self.steps = after.steps;
    }
}

/// Evaluates within a budget of units: at once where that is little work, and off the threads that everything else needs where
/// it is not. `evaluate` is called a second time then, so it may do nothing but evaluate.
pub fn weighed<T>(units: u64, evaluate: impl Fn(&mut Cost) -> T) -> T {
    let mut cost = Cost::inline(units);
    let value = evaluate(&mut cost);
    match cost.is_out_of_work() {
        false => value,
        true => knarr_tasks::heavy(|| evaluate(&mut Cost::new(units))),
    }
}
