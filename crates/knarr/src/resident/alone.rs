//! Pages that are mapped one at a time.
//!
//! Where a page of a file is touched that is not mapped, the kernel maps those around it, 64 KiB together, if it has them in memory
//! (`fault_around_bytes`, of the whole machine). It saves faults where a file is read from end to end. What runs now and then in a large
//! program is spread all over it: four times as much was mapped as ran.
//!
//! The kernel leaves it in ranges that a userfaultfd watches for writes (userfaultfd(2)). No write is ever watched here: the mode in which
//! the kernel itself settles them is asked for, so nobody waits for this process, and no page is set read-only.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{errno::Errno, ioctl_readwrite, libc};

const TYPE: u8 = 0xAA;
/// `UFFD_API`, the only version there is.
const VERSION: u64 = 0xAA;
/// `UFFD_FEATURE_WP_ASYNC`, of Linux 6.7: any mapping can be watched for writes.
const SETTLED_BY_THE_KERNEL: u64 = 1 << 15;
/// `UFFDIO_REGISTER_MODE_WP`.
const WRITES: u64 = 1 << 1;
/// `UFFD_USER_MODE_ONLY`: needs no privilege where the others do.
const USER_MODE_ONLY: libc::c_int = 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

ioctl_readwrite!(agree, TYPE, 0x3F, Api);
ioctl_readwrite!(register, TYPE, 0x00, Register);

/// Ranges whose pages are mapped one at a time until this is dropped.
#[derive(Debug)]
pub struct Alone {
    _watcher: OwnedFd,
}

impl Alone {
    /// An error of the kernel's where it has no such thing (before Linux 6.7), or does not let this process (seccomp filters of
    /// containers).
    #[expect(unsafe_code, reason = "there is no safe way to it")]
    pub fn new(ranges: &[Range<usize>]) -> io::Result<Self> {
        let flags = libc::O_CLOEXEC | USER_MODE_ONLY;
        // SAFETY: the call takes flags and returns a descriptor.
        let made = Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
        let made = i32::try_from(made).map_err(io::Error::other)?;
        // SAFETY: the descriptor was just made, and nobody else has it.
        let watcher = unsafe { OwnedFd::from_raw_fd(made) };
        let mut api = Api {
            api: VERSION,
            features: SETTLED_BY_THE_KERNEL,
            ioctls: 0,
        };
        // SAFETY: the structure is the call's.
        unsafe { agree(watcher.as_raw_fd(), &raw mut api)? };
        for range in ranges {
            let mut watched = Register {
                start: range.start as u64,
                len: range.len() as u64,
                mode: WRITES,
                ioctls: 0,
            };
            // SAFETY: the structure is the call's; the range stays readable as it is.
            unsafe { register(watcher.as_raw_fd(), &raw mut watched)? };
        }
        Ok(Self { _watcher: watcher })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, num::NonZeroUsize, slice};

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

    use super::*;

    const PAGE: usize = 4096;
    const PAGES: usize = 256;
    /// What the kernel maps together by default.
    const TOGETHER: usize = 16;

    #[test]
    #[expect(unsafe_code, reason = "a mapping is what is tested")]
    fn neighbours_stay_unmapped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1u8; PAGES * PAGE]).expect("a file");
        let file = File::open(&path).expect("the file");
        let length = NonZeroUsize::new(PAGES * PAGE).expect("a length");
        let (read, private) = (ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE);
        // SAFETY: a new mapping of a file that nobody changes.
        let at = unsafe { mmap(None, length, read, private, &file, 0) }.expect("a mapping");
        let start = at.as_ptr() as usize;
        let watched = slice::from_ref(&(start..start + length.get())).to_vec();
        let alone = match Alone::new(&watched) {
            Ok(alone) => alone,
            Err(error) => {
                eprintln!("not tested: this kernel maps no page alone: {error}");
                return;
            }
        };
        // SAFETY: it is as long as that, and is unmapped last.
        let bytes = unsafe { slice::from_raw_parts(at.as_ptr().cast::<u8>(), length.get()) };
        let touched: u64 = bytes
            .iter()
            .step_by(PAGE * TOGETHER)
            .map(|b| u64::from(*b))
            .sum();
        assert_eq!(touched, (PAGES / TOGETHER) as u64);
        assert_eq!(resident_pages(start), PAGES / TOGETHER);
        drop(alone);
        // SAFETY: nothing points there any more.
        unsafe { munmap(at, length.get()) }.expect("unmaps");
    }

    /// By `/proc/self/smaps`.
    fn resident_pages(start: usize) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let mut lines = smaps.lines();
        let head = format!("{start:x}-");
        lines
            .find(|line| line.starts_with(&head))
            .expect("the mapping");
        let size = lines
            .find_map(|line| line.strip_prefix("Rss:"))
            .expect("a size");
        let kilobytes: usize = size
            .trim_end_matches("kB")
            .trim()
            .parse()
            .expect("a number");
        kilobytes * 1024 / PAGE
    }
}
