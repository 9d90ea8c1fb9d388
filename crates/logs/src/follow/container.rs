//! The log files of one container: the present one and those that rotation has put aside, in the order they were written.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use knarr_host::Directory;
use rustix::fs::FileType;

use super::{file::Followed, line::Form, pace::Pace};
use crate::{
    positions::{FileId, Positions},
    record::{Record, Source, Stream},
    store::Store,
};

/// Files of a container that are looked at, the newest. A kubelet keeps five a restart, and the logs of one restart.
const MAX_FILES: usize = 32;
/// Read of a container before it is others' turn, bytes.
const TURN_BYTES: usize = 1 << 20;

/// Where the files are, and whose they are.
#[derive(Debug)]
pub struct Container {
    pub directory: Directory,
    pub source: Arc<Source>,
    /// Labels have been looked up.
    pub is_known: bool,
    form: Form,
    /// Files have this name, or a number and `.log`; with more behind it when they were put aside.
    name: Option<Vec<u8>>,
    /// The oldest first.
    files: Vec<Followed>,
    pace: Pace,
}

/// How a turn has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// There is more to read: now, or when the container may have more read.
    pub has_more: bool,
    pub is_held_back: bool,
    /// Positions that were committed have to be saved.
    pub is_sealed: bool,
    /// Bytes that were left out.
    pub skipped: u64,
}

impl Container {
    /// The log of a pod's container.
    pub fn of_pod(directory: Directory, source: Source, pace: Pace) -> Self {
        Self {
            directory,
            source: Arc::new(source),
            is_known: false,
            form: Form::Cri,
            name: None,
            files: Vec::new(),
            pace,
        }
    }

    /// The node's own log, a file of this name.
    pub fn of_node(directory: Directory, name: &OsStr, source: Source, pace: Pace) -> Self {
        Self {
            form: Form::Own,
            name: Some(name.as_bytes().to_vec()),
            is_known: true,
            ..Self::of_pod(directory, source, pace)
        }
    }

    /// Whether a file of this name is one of its logs.
    pub fn is_log(&self, name: &[u8]) -> bool {
        rank(name, self.name.as_deref()).is_some()
    }

    /// Looks which files there are. Those that are gone are still read to their ends.
    pub fn list(&mut self, positions: &Positions) -> io::Result<()> {
        let mut names: Vec<(Rank, PathBuf)> = Vec::new();
        let entries = match self.directory.entries() {
            // It is gone, which is told as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for (name, kind) in entries {
            if kind == FileType::RegularFile
                && let Some(rank) = rank(name.as_bytes(), self.name.as_deref())
            {
                names.push((rank, PathBuf::from(name)));
            }
        }
        names.sort();
        let surplus = names.len().saturating_sub(MAX_FILES);
        for (_, name) in names.drain(surplus..).collect::<Vec<_>>() {
            self.open(&name, positions)?;
        }
        Ok(())
    }

    fn open(&mut self, name: &Path, positions: &Positions) -> io::Result<()> {
        let file = match self.directory.open_file(name) {
            // Renamed or removed meanwhile: there will be an event.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut file = Followed::new(file, self.form)?;
        if self.files.iter().any(|known| known.inode == file.inode) {
            return Ok(());
        }
        if let Some(offset) = file.id().and_then(|id| positions.get(&id)) {
            file.resume(offset);
        }
        self.files.push(file);
        Ok(())
    }

    /// Files that are followed or have been read.
    pub fn ids(&self) -> impl Iterator<Item = FileId> {
        self.files.iter().filter_map(Followed::id)
    }

    /// Reads on, for a turn.
    pub fn read(&mut self, store: &Store, positions: &mut Positions) -> io::Result<Turn> {
        let mut turn = Turn {
            skipped: self.keep_up()?,
            ..Turn::default()
        };
        let mut left = TURN_BYTES;
        let count = self.files.len();
        for (index, file) in self.files.iter_mut().enumerate() {
            let is_last = index + 1 == count;
            loop {
                if !self.pace.allows() {
                    turn.is_held_back = true;
                    return Ok(turn);
                }
                if left == 0 {
                    turn.has_more = true;
                    return Ok(turn);
                }
                let mut writer = store.writer();
                let source = &self.source;
                let mut emit = |time, stream: Stream, text: &[u8]| {
                    writer.push(&Record {
                        source: source.clone(),
                        stream,
                        time,
                        text,
                    });
                };
                let step = file.step(&mut emit)?;
                if step.read == 0 && !is_last {
                    file.finish(&mut emit);
                }
                let position = file.position();
                turn.is_sealed |= writer.commit(position.as_ref());
                if let Some(position) = position {
                    positions.set(position);
                }
                self.pace.spend(step.read);
                turn.skipped += step.skipped;
                left = left.saturating_sub(step.read);
                if step.read == 0 {
                    break;
                }
            }
        }
        self.leave(positions);
        Ok(turn)
    }

    /// Leaves out what is more than a pod may be behind; how many bytes.
    fn keep_up(&mut self) -> io::Result<u64> {
        let mut unread = 0;
        for file in &self.files {
            unread += file.unread()?;
        }
        let mut surplus = self.pace.surplus(unread);
        let mut skipped = 0;
        for file in &mut self.files {
            let some = file.unread()?.min(surplus);
            if some > 0 {
                skipped += file.skip(some);
                surplus -= some;
            }
        }
        Ok(skipped)
    }

    /// Lets go of files that have been read and are gone.
    fn leave(&mut self, positions: &mut Positions) {
        let last = self.files.last().map(|file| file.inode);
        self.files.retain(|file| {
            let stays = Some(file.inode) == last || !file.is_unlinked();
            if !stays && let Some(id) = file.id() {
                positions.forget(&id);
            }
            stays
        });
    }

    /// The directory is gone: the rest of what was written, and its end.
    pub fn finish(&mut self, store: &Store, positions: &mut Positions) -> io::Result<Turn> {
        let turn = self.read(store, positions)?;
        if turn.has_more || turn.is_held_back {
            return Ok(turn);
        }
        let mut writer = store.writer();
        for file in &mut self.files {
            file.finish(&mut |time, stream, text| {
                writer.push(&Record {
                    source: self.source.clone(),
                    stream,
                    time,
                    text,
                });
            });
        }
        let is_sealed = writer.commit(None);
        for id in self.files.iter().filter_map(Followed::id) {
            positions.forget(&id);
        }
        self.files.clear();
        Ok(Turn { is_sealed, ..turn })
    }
}

/// Order of files: by restart, those put aside before the present one, by their times.
type Rank = (u64, bool, Vec<u8>);

fn rank(name: &[u8], own: Option<&[u8]>) -> Option<Rank> {
    let (number, rest) = match own {
        Some(own) => (0, name.strip_prefix(own)?),
        None => {
            let dot = memchr::memmem::find(name, b".log")?;
            let number = std::str::from_utf8(&name[..dot]).ok()?;
            (number.parse().ok()?, &name[dot + 4..])
        }
    };
    match rest {
        b"" => Some((number, true, Vec::new())),
        // What others have compressed, or are about to, was read before it was.
        [b'.', ..] if rest.ends_with(b".gz") || rest.ends_with(b".tmp") => None,
        [b'.', aside @ ..] => Some((number, false, aside.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_the_order_they_were_written() {
        let mut names = [
            "1.log",
            "0.log",
            "0.log.20300102-000000",
            "0.log.20300101-000000",
            "10.log",
        ];
        names.sort_by_key(|name| rank(name.as_bytes(), None));
        assert_eq!(
            names,
            [
                "0.log.20300101-000000",
                "0.log.20300102-000000",
                "0.log",
                "1.log",
                "10.log"
            ]
        );
        for other in [
            "0.log.20300101.gz",
            "0.log.tmp",
            "x.log",
            "0.logs",
            ".log",
            "0",
            "",
        ] {
            assert_eq!(rank(other.as_bytes(), None), None, "{other}");
        }
        let own = |name: &str| rank(name.as_bytes(), Some(b"knarr.log")).is_some();
        assert!(own("knarr.log") && own("knarr.log.1") && !own("knarr.log.2.gz") && !own("0.log"));
    }
}
