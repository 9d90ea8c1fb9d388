//! What the process does to one file, in order. The functions at the end stand in for libc's of the same names.
#![allow(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

/// One thing that happened.
pub enum Step {
    Write {
        at: usize,
        bytes: Vec<u8>,
        /// There when it has returned.
        durable: bool,
    },
    Sync,
    /// The store answered that this revision is durable.
    Acknowledged(u64),
}

struct Recorder {
    /// Device and inode.
    file: (u64, u64),
    steps: Vec<Step>,
}

/// Held over each call, so that the order of steps is the order in which they happened.
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

pub struct Recording;

/// Records what happens to the file from now on.
pub fn start(file: &Path) -> Recording {
    let metadata = std::fs::metadata(file).expect("a file");
    *RECORDER.lock().expect("no panic") = Some(Recorder {
        file: (metadata.dev(), metadata.ino()),
        steps: Vec::new(),
    });
    Recording
}

impl Recording {
    pub fn stop(self) -> Vec<Step> {
        let recorder = RECORDER.lock().expect("no panic").take();
        recorder.expect("it was started").steps
    }
}

pub fn acknowledged(revision: u64) {
    if let Some(recorder) = &mut *RECORDER.lock().expect("no panic") {
        recorder.steps.push(Step::Acknowledged(revision));
    }
}

impl Recorder {
    fn is_ours(&self, fd: c_int) -> bool {
        // SAFETY: `stat` is plain data, for which zeros are a value, and it is valid for writes.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: as above; a bad descriptor is an error.
        let found = unsafe { libc::fstat(fd, &mut stat) } == 0;
        found && (stat.st_dev, stat.st_ino) == self.file
    }
}

/// Makes a system call and notes it if it was about the file. `step` gets the number of bytes that were written.
fn call(fd: c_int, system: impl FnOnce() -> ssize_t, step: impl FnOnce(usize) -> Step) -> ssize_t {
    let mut recorder = match RECORDER.lock() {
        Ok(recorder) => recorder,
        Err(_) => return system(),
    };
    match &mut *recorder {
        Some(recorder) if recorder.is_ours(fd) => {
            let result = system();
            assert!(result >= 0, "the disk of this test has room and no faults");
            recorder.steps.push(step(result as usize));
            result
        }
        _ => {
            drop(recorder);
            system()
        }
    }
}

fn is_durable(fd: c_int) -> bool {
    // SAFETY: reads a descriptor's flags.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_DSYNC != 0 }
}

/// The bytes of `count` buffers, cut off at `length`.
///
/// # Safety
/// The buffers are valid, as for writev.
unsafe fn gather(buffers: *const iovec, count: c_int, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    for n in 0..count as usize {
        // SAFETY: the caller's promise.
        let piece = unsafe {
            let buffer = &*buffers.add(n);
            std::slice::from_raw_parts(buffer.iov_base.cast::<u8>(), buffer.iov_len)
        };
        bytes.extend_from_slice(piece);
    }
    bytes.truncate(length);
    bytes
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    fd: c_int,
    data: *const c_void,
    count: size_t,
    at: off_t,
) -> ssize_t {
    let step = |written| Step::Write {
        at: at as usize,
        // SAFETY: the caller's buffer is valid, or the system call had failed.
        bytes: unsafe { std::slice::from_raw_parts(data.cast::<u8>(), written) }.to_vec(),
        durable: is_durable(fd),
    };
    // SAFETY: the system call that libc's function makes.
    let system = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, data, count, at) as ssize_t };
    call(fd, system, step)
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: asks for a position; -1 where there is none, which is then not used.
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    let step = |written| Step::Write {
        at: at as usize,
        // SAFETY: the caller's buffers are valid.
        bytes: unsafe { gather(buffers, count, written) },
        durable: is_durable(fd),
    };
    // SAFETY: the system call that libc's function makes.
    let system = || unsafe { libc::syscall(libc::SYS_writev, fd, buffers, count) as ssize_t };
    call(fd, system, step)
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the system call that libc's function makes.
    let system = || unsafe { libc::syscall(libc::SYS_fdatasync, fd) as ssize_t };
    call(fd, system, |_| Step::Sync) as c_int
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the system call that libc's function makes.
    let system = || unsafe { libc::syscall(libc::SYS_fsync, fd) as ssize_t };
    call(fd, system, |_| Step::Sync) as c_int
}
