//! What a person sees while the cluster starts: a line a step, with its time.

use std::{
    io::{IsTerminal, Write},
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Prints steps on standard output. Clones share it.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    color: bool,
    out: Arc<Mutex<std::io::Stdout>>,
}

/// Whether standard output is a terminal, and who looks at it has not said otherwise.
pub fn in_color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Columns of the terminal that standard output is; `None` where it is none, and lines may be as long as they are.
#[expect(unsafe_code, reason = "there is no safe way to it")]
pub fn width() -> Option<usize> {
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    // SAFETY: a winsize is numbers alone.
    let mut size: nix::libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the kernel writes one winsize.
    unsafe { window_size(std::io::stdout().as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

impl Progress {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            color: in_color(),
            out: Arc::new(Mutex::new(std::io::stdout())),
        }
    }

    /// Runs a step and prints it with the time it took. Steps may run side by side: a line is printed when one ends.
    pub async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let result = work.await;
        let mark = if result.is_ok() {
            self.paint("32", "✓")
        } else {
            self.paint("31", "✗")
        };
        self.line(&format!(
            "  {mark} {name:<34} {:>8}",
            seconds(started.elapsed())
        ));
        result
    }

    /// A step that has ended well, begun when all did.
    pub fn done(&self, name: &str) {
        let mark = self.paint("32", "✓");
        self.line(&format!(
            "  {mark} {name:<34} {:>8}",
            seconds(self.elapsed())
        ));
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        let mut out = self.out.lock();
        // Nobody reads any more: the cluster runs on.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `0.042 s`, `1.3 s`.
pub fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}
