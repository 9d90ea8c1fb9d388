//! One operation a volume at a time: a driver that hangs over one keeps nobody from the others.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::places::Handle;

#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Handle, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the volume's turn, and has it until the guard is dropped.
    pub(super) async fn take(&self, handle: &Handle) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            match turns.get(handle).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::default();
                    turns.insert(handle.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}
