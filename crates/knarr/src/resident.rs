//! What of the program's own code and constants stays in memory.
//!
//! A start runs code that an idle cluster never runs again, and each page of it that is touched maps its 15 neighbours too: of 49 MB of
//! mapped code a cluster at rest uses 10. The kernel takes back code that a process has mapped last of all, so that other programs of a
//! small machine make room for what nobody runs. So all of it is unmapped from time to time; what still runs is mapped again at its next
//! use, from the page cache, without a read of the disk, and after the start without its neighbours ([`alone`]).

mod alone;

use std::{
    convert::Infallible, ffi::c_void, fs, io, ops::Range, os::unix::fs::MetadataExt, ptr::NonNull,
    time::Duration,
};

use nix::sys::mman::{MmapAdvise, madvise};
use tracing::debug;

/// After the start, and from then on.
const FIRST: Duration = Duration::from_secs(4);
const EVERY: Duration = Duration::from_secs(60);

/// Unmaps again and again what can be mapped again.
pub async fn keep_small() -> Infallible {
    tokio::time::sleep(FIRST).await;
    // Kept for as long as the process lives: with it the neighbours would come back.
    let alone = mapped().and_then(|ranges| alone::Alone::new(&ranges));
    if let Err(error) = &alone {
        debug!(%error, "the program's pages are mapped with their neighbours");
    }
    loop {
        if let Err(error) = unmap() {
            debug!(%error, "the program's code stays mapped");
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn unmap() -> io::Result<()> {
    mapped()?.into_iter().try_for_each(forget)
}

/// The addresses of this program whose pages are as they are in its file.
fn mapped() -> io::Result<Vec<Range<usize>>> {
    let program = fs::metadata("/proc/self/exe")?.ino();
    let maps = fs::read_to_string("/proc/self/maps")?;
    let lines = maps.lines();
    Ok(lines.filter_map(|line| as_in_file(line, program)).collect())
}

/// The addresses of a line of `/proc/PID/maps` (proc(5)) whose pages are those of the file with this inode: its code, and the constants
/// at its beginning. Other constants have addresses in them, which were written when the program was loaded.
fn as_in_file(line: &str, inode: u64) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let (permissions, offset) = (fields.next()?, fields.next()?);
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let never_written = match permissions {
        "r-xp" => true,
        "r--p" => number(offset)? == 0,
        _ => false,
    };
    let is_of_file = fields.nth(1)?.parse() == Ok(inode);
    (never_written && is_of_file).then_some(number(from)?..number(to)?)
}

/// Has pages read from their file again at their next use.
#[expect(unsafe_code, reason = "there is no safe way to it")]
fn forget(range: Range<usize>) -> io::Result<()> {
    let Some(start) = NonNull::new(range.start as *mut c_void) else {
        return Ok(());
    };
    // SAFETY: the pages are as they are in the file, which is what the kernel maps again where they were.
    unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_is_unmapped() {
        let check = |line, expected| assert_eq!(as_in_file(line, 4711), expected, "{line}");
        let range = || Some(0x55d0..0x55f0);
        check(
            "55d0-55f0 r-xp 00001000 fe:00 4711  /usr/bin/knarr",
            range(),
        );
        check(
            "55d0-55f0 r-xp 00001000 fe:00 4711  /usr/bin/knarr (deleted)",
            range(),
        );
        check(
            "55d0-55f0 r--p 00000000 fe:00 4711  /usr/bin/knarr",
            range(),
        );
        // Constants with addresses in them, data, another file's code, nothing.
        check("55d0-55f0 r--p 00001000 fe:00 4711  /usr/bin/knarr", None);
        check("55d0-55f0 rw-p 00000000 fe:00 4711  /usr/bin/knarr", None);
        check(
            "55d0-55f0 r-xp 00001000 fe:00 4712  /usr/lib/libc.so.6",
            None,
        );
        check("55d0-55f0 r-xp 00000000 00:00 0     [vdso]", None);
        check("", None);
    }

    /// Of this test's own program, which goes on running from what is mapped again.
    #[test]
    fn what_is_unmapped_takes_no_memory_and_runs() {
        // The second time all that looking takes is mapped.
        resident();
        let before = resident();
        unmap().expect("unmaps");
        let after = resident();
        assert!(after < before, "{after} kB of {before} kB are resident");
    }

    /// In kB, by `/proc/self/smaps`.
    fn resident() -> u64 {
        let program = fs::metadata("/proc/self/exe").expect("a program").ino();
        let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
        let mut lines = smaps.lines();
        let mut sum = 0;
        while lines.any(|line| as_in_file(line, program).is_some()) {
            let size = lines.find_map(|line| line.strip_prefix("Rss:"));
            let size = size.expect("a size").trim_end_matches("kB").trim();
            sum += size.parse::<u64>().expect("a number");
        }
        sum
    }
}
