//! What a worker's tasks bring when they end.

use tokio::time::Instant;

use super::{RETRY, Stage, Worker};
use crate::{
    context,
    status::writer::Written,
    volume::{self, Mounted},
};

/// What a task brought.
pub(super) enum Done {
    Started,
    Kill(String, crate::runtime::Result<()>),
    Stopped(crate::runtime::Result<()>),
    Written(Written),
    Refreshed(Result<Mounted, volume::Error>),
    Resized(Result<(), String>),
    /// All containers are gone, to be started anew.
    Removed(crate::runtime::Result<()>),
    /// Of the container with this id.
    LastWords(String, String),
    Cleaned(Result<(), String>),
    Deleted(Result<(), String>),
}

impl Worker {
    /// Takes in what a task brought; what failed is tried again after a pause.
    pub(super) fn done(&mut self, done: Done) {
        self.tell_after(&done);
        let result = match done {
            Done::Started => {
                self.start = None;
                self.starting.clear();
                Ok(())
            }
            Done::Kill(id, result) => {
                self.killing.remove(&id);
                result.map_err(|error| error.to_string())
            }
            Done::Stopped(result) => {
                self.stop = None;
                result.map_err(|error| error.to_string())
            }
            Done::Written(written) => self.told(written),
            Done::Refreshed(result) => self.refreshed(result),
            Done::Resized(result) => {
                self.resized(result);
                Ok(())
            }
            Done::Removed(result) => {
                self.removing = false;
                result.map_err(|error| error.to_string())
            }
            Done::LastWords(id, words) => {
                self.reading.remove(&id);
                self.messages.insert(id, words);
                Ok(())
            }
            Done::Cleaned(result) => {
                self.finishing = false;
                self.cleaned = result.is_ok();
                result
            }
            Done::Deleted(result) => {
                self.finishing = false;
                if result.is_ok() {
                    self.stage = Stage::Finished;
                }
                result
            }
        };
        if let Err(error) = result {
            let pod = context::display(&self.input.borrow().pod);
            tracing::warn!(pod, error, stage = ?self.stage, "a pod operation failed, it is tried again");
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    /// The write of the status has ended.
    fn told(&mut self, written: Written) -> Result<(), String> {
        self.writing = false;
        self.unheard = matches!(written, Written::Failed(_));
        match written {
            Written::Done(pod) => self.written = Some(pod),
            Written::Gone => self.lose(),
            Written::Failed(error) => return Err(format!("cannot write the status: {error}")),
        }
        Ok(())
    }

    fn refreshed(&mut self, result: Result<Mounted, volume::Error>) -> Result<(), String> {
        self.refreshing = false;
        match result {
            Ok(mounted) => {
                self.state.edit(|memory| memory.volumes = Some(mounted));
                Ok(())
            }
            Err(error) => {
                self.volumes_due = true;
                Err(error.to_string())
            }
        }
    }

    /// The API has no such object. What it bore the status of goes with it only if it was the same.
    fn lose(&mut self) {
        let update = self.input.borrow();
        self.lost = update.is_own();
        let object = update.object.as_deref().filter(|_| !self.lost);
        self.lost_mirror = object.map(|object| context::uid(object).to_owned());
    }
}
