//! How long a search for devices may be.

use std::time::Instant;

use crate::allocator::Error;

/// How long a search may be: in devices that are tried, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub steps: u64,
    pub until: Option<Instant>,
}

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

impl Budget {
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        self.steps = self.steps.checked_sub(1).ok_or(Error::Timeout)?;
        match self.steps.is_multiple_of(STEPS_PER_LOOK) {
            true => self.look(),
            false => Ok(()),
        }
    }

    /// Looks at the clock: before what may take long by itself, which compiling and evaluating a selector may.
    pub(crate) fn look(&self) -> Result<(), Error> {
        match self.until {
            Some(until) if Instant::now() >= until => Err(Error::Timeout),
            _ => Ok(()),
        }
    }
}
