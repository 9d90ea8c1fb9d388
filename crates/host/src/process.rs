//! What this process uses, as Prometheus' clients tell it of theirs.

use std::{fs, io};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// Figures of the calling process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Of user and system time together.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    /// Since the epoch.
    pub start_seconds: f64,
    pub open_files: u64,
    /// The soft limit.
    pub max_files: u64,
}

impl Process {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn own() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let boot = fs::read_to_string("/proc/stat")?;
        let ticks = clock_ticks_per_second() as f64;
        let page = u64::try_from(page_size()).unwrap_or(4096);
        let parsed = Stat::parse(&stat).ok_or_else(|| io::Error::other("/proc/self/stat"))?;
        let open_files = fs::read_dir("/proc/self/fd")?.count();
        Ok(Self {
            cpu_seconds: parsed.cpu_ticks as f64 / ticks,
            resident_bytes: parsed.resident_pages.saturating_mul(page),
            virtual_bytes: parsed.virtual_bytes,
            start_seconds: boot_seconds(&boot) as f64 + parsed.start_ticks as f64 / ticks,
            // The directory itself is one while it is read.
            open_files: u64::try_from(open_files).unwrap_or(0).saturating_sub(1),
            max_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        })
    }
}

/// Of proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    /// After boot.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name before may have anything in it.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third of the file.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_seconds(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_anything_in_them() {
        let line = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15 16 17 0 400 5000 60 9";
        let expected = Stat {
            cpu_ticks: 42,
            start_ticks: 400,
            virtual_bytes: 5000,
            resident_pages: 60,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("12 (a"), None);
        assert_eq!(boot_seconds("cpu 1\nbtime 77\n"), 77);
    }

    #[test]
    fn the_own_process_is_told() {
        let own = Process::own().unwrap();
        assert!(
            own.resident_bytes > 1 << 20 && own.virtual_bytes >= own.resident_bytes,
            "{own:?}"
        );
        assert!(
            own.open_files >= 3 && own.open_files <= own.max_files,
            "{own:?}"
        );
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs_f64();
        assert!(
            own.start_seconds <= now + 1.0 && own.start_seconds > now - 86_400.0,
            "{own:?}"
        );
    }
}
