//! The cells of an object's row in a Table.

use super::kept::Form;

/// A row up to its object, as JSON: `{"cells":[...],"object":`, with conditions between where there are any.
#[derive(Debug)]
pub struct Cells {
    pub json: Box<[u8]>,
    /// When it was made, in unix time.
    pub since: i64,
    /// The first second, in unix time, at which a cell would say something else.
    pub until: i64,
}

impl Form for Cells {
    const LIMIT_BYTES: usize = 16 << 20;

    fn held_bytes(&self) -> usize {
        self.json.len()
    }
}
