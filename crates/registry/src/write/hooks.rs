//! The hooks around one write, and what they have taken for it.

use knarr_meta::status::Status;
use serde_json::Value;

use super::{Refused, Write};
use crate::{Registry, hook::Taken};

/// What every hook took for one write.
#[derive(Default)]
pub struct Takings(Vec<Box<dyn Taken>>);

impl Takings {
    async fn undo(self) {
        for taken in self.0 {
            taken.undo().await;
        }
    }
}

impl Registry {
    /// Lets every hook fill in and take what the new object needs. On an error nothing stays taken.
    pub(super) async fn take(
        &self,
        write: &Write<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Takings, Status> {
        let mut takings = Takings::default();
        for hook in self.hooks.iter().filter(|h| h.handles(write.kind)) {
            let taken = match old {
                None => hook.before_create(new, write.dry_run).await,
                Some(old) => hook.before_update(new, old, write.dry_run).await,
            };
            match taken {
                Ok(taken) => takings.0.push(taken),
                Err(status) => {
                    takings.undo().await;
                    return Err(status);
                }
            }
        }
        Ok(takings)
    }

    /// Settles what was taken by how the write ended.
    pub(super) async fn settle<T>(
        &self,
        write: &Write<'_>,
        takings: Takings,
        result: &Result<T, Refused>,
        new: &Value,
        old: Option<&Value>,
    ) {
        match result {
            Ok(_) if !write.dry_run => {
                takings.0.into_iter().for_each(|taken| taken.keep(new));
                if let Some(old) = old {
                    for hook in self.hooks.iter().filter(|h| h.handles(write.kind)) {
                        hook.after_update(new, old).await;
                    }
                }
            }
            Err(Refused::Unknown(_)) => drop(takings),
            _ => takings.undo().await,
        }
    }
}
