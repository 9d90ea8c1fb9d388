//! Files that are written on the way, where a call of its own would have others overtake it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does what waits for a disk, or for somebody who does: a disk may stall for half a minute, and everything else of the process
/// needs this thread.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // There is nowhere else to go (tests), or nobody to make way for.
        _ => work(),
    }
}
