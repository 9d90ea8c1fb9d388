//! How long tasks wait for what there is too little of: the kernel's pressure stall information, of the machine and of groups of
//! version 2. A kernel that is built or started without it has none.

use std::{fs, path::Path};

/// Where the machine's are.
const OF_MACHINE: &str = "/proc/pressure";

/// Waiting for one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All of them did; 0 where the kernel does not tell, as for the CPU of a machine before Linux 5.13.
    pub full: Stall,
}

/// How long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Microseconds, as the kernel counts and upstream's APIs carry it, whatever their comments say.
    pub total: u64,
    /// Per cent of the last 10, 60 and 300 seconds.
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
}

/// Of all resources that the kernel tells it of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressures {
    pub cpu: Option<Pressure>,
    pub memory: Option<Pressure>,
    pub io: Option<Pressure>,
}

impl Pressures {
    /// That of the whole machine. Blocks as reading of the kernel's files does.
    #[must_use]
    pub fn of_machine() -> Self {
        let of = |resource: &str| read(&Path::new(OF_MACHINE).join(resource));
        Self {
            cpu: of("cpu"),
            memory: of("memory"),
            io: of("io"),
        }
    }

    pub(super) fn of_group(directory: &Path) -> Self {
        let of = |resource: &str| read(&directory.join(format!("{resource}.pressure")));
        Self {
            cpu: of("cpu"),
            memory: of("memory"),
            io: of("io"),
        }
    }
}

fn read(file: &Path) -> Option<Pressure> {
    // A kernel that was started without it has the files, and refuses to read them.
    parse(&fs::read_to_string(file).ok()?)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn parse(text: &str) -> Option<Pressure> {
    let mut found = Pressure::default();
    let mut is_told = false;
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let stall = match kind {
            "some" => &mut found.some,
            "full" => &mut found.full,
            _ => continue,
        };
        is_told = true;
        for field in rest.split_whitespace() {
            match field.split_once('=')? {
                ("total", value) => stall.total = value.parse().ok()?,
                ("avg10", value) => stall.avg10 = value.parse().ok()?,
                ("avg60", value) => stall.avg60 = value.parse().ok()?,
                ("avg300", value) => stall.avg300 = value.parse().ok()?,
                _ => {}
            }
        }
    }
    is_told.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_counted_by_who_waits() -> std::io::Result<()> {
        let home = tempfile::tempdir()?;
        fs::write(
            home.path().join("cpu.pressure"),
            "some avg10=60.02 avg60=53.21 avg300=26.61 total=33766717879\nfull avg10=0.00 avg60=0.50 avg300=0.00 total=7\n",
        )?;
        fs::write(home.path().join("io.pressure"), "some avg10=")?;
        let found = Pressures::of_group(home.path());
        let some = Stall {
            total: 33_766_717_879,
            avg10: 60.02,
            avg60: 53.21,
            avg300: 26.61,
        };
        let full = Stall {
            total: 7,
            avg60: 0.5,
            ..Stall::default()
        };
        assert_eq!(found.cpu, Some(Pressure { some, full }));
        assert_eq!((found.memory, found.io), (None, None));
        Ok(())
    }
}
