//! What must stay free of the disk that everything else is on.

use std::io;
use std::os::fd::AsFd;

/// What stays free, bytes: a twentieth, and no more than this.
const RESERVED_BYTES: u64 = 1 << 30;
/// Between two looks at what is free, bytes.
pub const CHECK_BYTES: u64 = 64 << 20;

/// An error where less is free. `of` is any file or directory of the file system.
pub fn check(of: &impl AsFd) -> io::Result<()> {
    let stat = nix::sys::statvfs::fstatvfs(of)?;
    let unit = stat.fragment_size();
    let all = stat.blocks().saturating_mul(unit);
    let reserve = (all / 20).min(RESERVED_BYTES);
    if stat.blocks_available().saturating_mul(unit) < reserve {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    Ok(())
}
