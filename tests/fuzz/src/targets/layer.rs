//! Layers of images: archives that are unpacked. An input is an archive's entries, a line each, fields between bars:
//!
//! ```text
//! f|name|content|mode|number    a file; `d` a directory, `s` and `h` links to `content`, `c`, `b` and `p` nodes, `S` a sparse file
//! x|key|value                   a PAX record of the next entry; `n|name` and `k|name`: its long name and its link's
//! ```
//!
//! Nothing is written or changed outside of the layer, no more is written than the archive has, no whiteout stays a file, and of a
//! layer that failed nothing stays.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tar::{EntryType, Header};

use crate::shape;

use super::store::{Place, digest};
use super::{Target, texts};

const BLOCK: usize = 512;
/// Largest sparse file.
const MAX_SPARSE: u64 = 1 << 20;

pub struct Layer {
    place: Place,
}

/// An archive in the making.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    pax: Vec<u8>,
    /// Of sparse files.
    holes: u64,
}

impl Archive {
    fn append(&mut self, header: &mut Header, data: &[u8]) {
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        let filled = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(filled, 0);
    }

    /// An entry that belongs to the next one.
    fn extension(&mut self, kind: EntryType, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        self.append(&mut header, data);
    }

    fn line(&mut self, line: &str) {
        let mut fields = line.split('|');
        let mut next = || fields.next().unwrap_or_default();
        let (kind, name, content, mode, number) = (next(), next(), next(), next(), next());
        match kind {
            "x" => self.pax.extend(record(name, content)),
            "n" => self.extension(EntryType::GNULongName, &[name.as_bytes(), b"\0"].concat()),
            "k" => self.extension(EntryType::GNULongLink, &[name.as_bytes(), b"\0"].concat()),
            _ => self.entry(kind, name, content, (mode, number)),
        }
    }

    fn entry(&mut self, kind: &str, name: &str, content: &str, (mode, number): (&str, &str)) {
        let (entry, data) = match kind {
            "f" => (EntryType::Regular, content),
            "d" => (EntryType::Directory, ""),
            "s" => (EntryType::Symlink, ""),
            "h" => (EntryType::Link, ""),
            "c" => (EntryType::Char, ""),
            "b" => (EntryType::Block, ""),
            "p" => (EntryType::Fifo, ""),
            "S" => (EntryType::GNUSparse, content),
            _ => return,
        };
        if !self.pax.is_empty() {
            let pax = std::mem::take(&mut self.pax);
            self.extension(EntryType::XHeader, &pax);
        }
        let number: u64 = number.parse().unwrap_or_default();
        let mut header = Header::new_gnu();
        header.set_entry_type(entry);
        header.set_size(data.len() as u64);
        header.set_mode(u32::from_str_radix(mode, 8).unwrap_or(0o644));
        header.set_mtime(number);
        header.set_uid(number);
        header.set_gid(0);
        let old = header.as_old_mut();
        put(&mut old.name, name);
        if data.is_empty() {
            put(&mut old.linkname, content);
        }
        if let Some(gnu) = header.as_gnu_mut()
            && kind == "S"
        {
            let size = number.min(MAX_SPARSE);
            gnu.set_real_size(size);
            gnu.sparse[0].set_offset(size.saturating_sub(data.len() as u64));
            gnu.sparse[0].set_length(data.len() as u64);
            self.holes += size;
        }
        self.append(&mut header, data.as_bytes());
    }
}

fn put(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// `LENGTH KEY=VALUE\n`, where the length is that of all of it.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..8)
        .map(|digits| rest.len() + digits)
        .find(|length| length.to_string().len() + rest.len() == *length);
    format!("{}{rest}", length.unwrap_or_default()).into_bytes()
}

/// Bytes of the files below a directory, and names of files that are whiteouts.
fn measure(path: &Path, seen: &mut Vec<u64>) -> Result<u64, String> {
    let mut size = 0;
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let meta = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if meta.is_dir() {
            size += measure(&path, seen)?;
        } else if name.starts_with(".wh.") {
            return Err(format!("{} stays", path.display()));
        } else if meta.is_file() && !seen.contains(&meta.ino()) {
            seen.push(meta.ino());
            size += meta.len();
        }
    }
    Ok(size)
}

impl Layer {
    pub fn new() -> Self {
        let place = Place::new();
        Self { place }
    }
}

impl Target for Layer {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "d|etc||755|1000\nf|etc/passwd|root|600|5\nf|./etc/passwd|again|4755|0\nh|etc/hard|etc/passwd\ns|etc/soft|/etc/passwd",
            "f|a/b/c|x\nf|a/.wh.b|\nf|a/.wh..wh..opq|\nf|.wh.gone|\nd|a/b||700",
            "s|out|%OUT%\nf|out/file|changed\nd|out||777\nh|h|../../../canary/file|777\nf|h|x",
            "s|up|../../../canary\nd|up/new||700\nf|up/.wh.file|\nf|../../../canary/new|x\nf|%OUT%/new|x",
            "x|path|long/name\nx|linkpath|%OUT%/file\nx|size|3\nx|SCHILY.xattr.security.capability|x\nx|uid|5\nf|short|abc\nh|link|y",
            "n|deep/deeper/deepest\nf|x|text\nk|%OUT%/file\ns|y|z\nc|null||666|1\nb|sda||600|8\np|pipe||644\nS|sparse|end|644|9000",
            "d|/|||\nf|/|x\nd|.||0\nd|..||777\nf|a|x\nd|a||755\nf|a|y\ns|a|a\nf|a/b|z",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "%OUT%",
            "%OUT%/file",
            "../../../canary/file",
            "/",
            "..",
            ".wh.",
            ".wh..wh..opq",
            "\nf|",
            "\nd|",
            "\ns|a|",
            "\nh|a|",
            "\nx|path|",
            "\nx|linkpath|",
            "\nx|size|",
            "\nx|SCHILY.xattr.trusted.overlay.opaque|y\n",
            "\nx|SCHILY.xattr.user.a|b\n",
            "\nx|GNU.sparse.major|1\nx|GNU.sparse.minor|0\n",
            "\nn|",
            "\nk|",
            "|",
            "|4777",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let text = self.place.name_outside(&String::from_utf8_lossy(input));
        let mut archive = Archive::default();
        for line in text.lines() {
            archive.line(line);
        }
        archive.bytes.extend([0; 2 * BLOCK]);
        let store = self.place.store();
        let id = format!("sha256:{}", digest(&archive.bytes));
        let outcome = store.unpack_layer(&id, &*archive.bytes);
        self.place.check()?;
        let layers = self.place.root().join("layers");
        if let Err(error) = outcome {
            return match fs::read_dir(&layers).map(Iterator::count) {
                Ok(0) => Ok(shape::of(&error.to_string())),
                _ => Err(format!("something stays after {error}")),
            };
        }
        let size = measure(&layers, &mut Vec::new())?;
        if size > archive.bytes.len() as u64 + archive.holes {
            return Err(format!("{} bytes become {size}", archive.bytes.len()));
        }
        Ok(shape::of_data(&text))
    }
}
