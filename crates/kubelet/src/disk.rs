//! Sizes of what is on a disk, and files that are written on the way, where a call of its own would have others overtake it.

use std::{ops::ControlFlow, path::Path};

use knarr_host::Directory;

/// Entries of a volume that are counted: what is beyond is left out of the figure. Counting takes about a second.
const MAX_ENTRIES: u64 = 500_000;
/// What file systems count blocks in, whatever their own are.
const BLOCK_BYTES: u64 = 512;

/// Does what waits for a disk, or for somebody who does: a disk may stall for half a minute, and everything else of the process
/// needs this thread.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    knarr_tasks::waiting(work)
}

/// The bytes on disk and the entries of a directory, however deep. Its pod changes it meanwhile, and may have made it deep and wide:
/// what was counted until that ends the count is the figure.
pub(crate) fn size(place: &Path) -> (u64, u64) {
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    let counted = Directory::open(place).and_then(|top| {
        knarr_host::walk(&top, |found| {
            entries = entries.saturating_add(1);
            let blocks = u64::try_from(found.stat.st_blocks).unwrap_or(0);
            bytes = bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
            Ok(match entries < MAX_ENTRIES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })
    });
    if let Err(error) = counted {
        tracing::debug!(%error, place = %place.display(), "counted a part of a volume only");
    }
    (bytes, entries)
}
