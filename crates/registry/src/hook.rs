//! What must be taken or given back around a write.

use async_trait::async_trait;
use knarr_api::Kind;
use knarr_meta::status::Status;
use serde_json::Value;

/// What one write has taken. Dropped without a word (the write was cut off, its outcome is not known) it stays taken until the
/// taker has looked into the store.
#[async_trait]
pub trait Taken: Send + Sync {
    /// The write is durable: this is the object that has it now.
    fn keep(self: Box<Self>, object: &Value);
    /// The write did not happen.
    async fn undo(self: Box<Self>);
}

/// What must be taken or given back around a write of certain kinds: service addresses, node ports. Called by the write path
/// in this order: `before_create`, strategy, validation, commit; then the guard is kept or undone. All calls take part in each
/// retry of an update. With `dry_run` nothing is taken: what is
/// filled in may be made up.
#[async_trait]
pub trait WriteHook: Send + Sync {
    /// Cheap test by kind; the other methods are only called where it holds.
    fn handles(&self, kind: &Kind) -> bool;
    /// Fills in what the object needs. An error refuses the create and leaves nothing taken.
    async fn before_create(
        &self,
        object: &mut Value,
        dry_run: bool,
    ) -> Result<Box<dyn Taken>, Status>;
    /// Takes what `new` needs beyond `old`; gives nothing back yet.
    async fn before_update(
        &self,
        new: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> Result<Box<dyn Taken>, Status>;
    /// The update is durable: gives back what `old` had and `new` has no more.
    async fn after_update(&self, new: &Value, old: &Value);
    /// The delete is durable: gives everything back.
    async fn after_delete(&self, object: &Value);
}
