//! Ways in which objects go.

/// How deletion of an object proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Finalizers aside, the object goes at once.
    Immediate,
    /// The object stays with a deletionTimestamp for this many seconds, until someone deletes it with a period of 0.
    Graceful { seconds: i64 },
}
