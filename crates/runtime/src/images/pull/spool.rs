//! From the network into a file without a name: at most so many bytes, at no less than a pace, with their digest.
//!
//! Whoever reads the file finds all of it there: no thread and no memory waits for a registry.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::time::{Instant, timeout_at};

use super::error::RequestError;
use crate::id;
use crate::images::room;

/// Fewer within one [`super::Timeouts::progress`] are no progress, bytes: a kibibyte a second for the default.
const MIN_PROGRESS_BYTES: u64 = 60 << 10;
/// Written at once, bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Content that is all there.
#[derive(Debug)]
pub struct Spooled {
    file: File,
    /// `sha256:<64 digits>`
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// How much content there may be, and must be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Bytes.
    pub most: u64,
    /// Known before: exact size and digest.
    pub promised: Option<(u64, &'a str)>,
}

/// Takes the body of an answer into a file below `directory`.
pub async fn spool(
    response: Response,
    directory: &Path,
    bounds: Bounds<'_>,
    progress: Duration,
) -> Result<Spooled, RequestError> {
    let most = bounds
        .promised
        .map_or(bounds.most, |(size, _)| size.min(bounds.most));
    if bounds.promised.is_some_and(|(size, _)| size > bounds.most)
        || response
            .content_length()
            .is_some_and(|length| length > most)
    {
        return Err(too_long(most));
    }
    let file = tempfile::tempfile_in(directory).map_err(RequestError::Disk)?;
    let body = Body {
        response,
        window: Window::new(progress),
        left: most,
        most,
    };
    let spooled = body.write(file).await?;
    match bounds.promised {
        Some((size, _)) if size != spooled.size => Err(RequestError::Other(format!(
            "it has {} bytes, and {size} by its descriptor",
            spooled.size
        ))),
        Some((_, digest)) if digest != spooled.digest => Err(RequestError::Other(format!(
            "its digest is {}, and {digest} by its descriptor",
            spooled.digest
        ))),
        _ => Ok(spooled),
    }
}

fn too_long(most: u64) -> RequestError {
    RequestError::Other(format!("it has more than {most} bytes"))
}

struct Body {
    response: Response,
    window: Window,
    left: u64,
    most: u64,
}

impl Body {
    async fn write(mut self, file: File) -> Result<Spooled, RequestError> {
        room::check(&file).map_err(RequestError::Disk)?;
        let mut hash = Sha256::new();
        let mut to = BufWriter::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
        let mut unchecked: u64 = 0;
        while let Some(chunk) = self.chunk().await? {
            hash.update(&chunk);
            to.write_all(&chunk).await.map_err(RequestError::Disk)?;
            unchecked = unchecked.saturating_add(chunk.len() as u64);
            if unchecked >= room::CHECK_BYTES {
                unchecked = 0;
                room::check(to.get_ref()).map_err(RequestError::Disk)?;
            }
        }
        to.flush().await.map_err(RequestError::Disk)?;
        Ok(Spooled {
            file: to.into_inner().into_std().await,
            digest: format!("sha256:{}", id::hex(&hash.finalize())),
            size: self.most.saturating_sub(self.left),
        })
    }

    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, RequestError> {
        let Some(chunk) = self.window.next(&mut self.response).await? else {
            return Ok(None);
        };
        self.left = self
            .left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| too_long(self.most))?;
        Ok(Some(chunk))
    }
}

/// Counts what comes between two moments.
struct Window {
    length: Duration,
    end: Instant,
    bytes: u64,
}

/// From now on. A wait that no clock can say is over at once.
fn after(length: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(length).unwrap_or(now)
}

impl Window {
    fn new(length: Duration) -> Self {
        Self {
            length,
            end: after(length),
            bytes: 0,
        }
    }

    async fn next(
        &mut self,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, RequestError> {
        loop {
            if Instant::now() >= self.end {
                self.turn()?;
            }
            match timeout_at(self.end, response.chunk()).await {
                Ok(Ok(chunk)) => {
                    let more = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                    self.bytes = self.bytes.saturating_add(more);
                    return Ok(chunk);
                }
                Ok(Err(error)) => return Err(RequestError::of(error)),
                Err(_) => self.turn()?,
            }
        }
    }

    fn turn(&mut self) -> Result<(), RequestError> {
        if self.bytes < MIN_PROGRESS_BYTES {
            return Err(RequestError::Late(format!(
                "{} bytes in {:?}",
                self.bytes, self.length
            )));
        }
        self.bytes = 0;
        self.end = after(self.length);
        Ok(())
    }
}

impl Spooled {
    /// All of it, in memory. Blocks.
    pub fn bytes(mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        self.file.take(self.size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// From its beginning.
    pub fn into_reader(mut self) -> io::Result<impl Read + Send + 'static> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(io::BufReader::with_capacity(BUFFER_BYTES, self.file))
    }
}

/// A short answer's body, or as much of it as fits into `most` bytes; whether that was all.
pub async fn short(
    mut response: Response,
    most: usize,
    progress: Duration,
) -> Result<(Vec<u8>, bool), RequestError> {
    let mut bytes = Vec::new();
    let reading = async {
        while let Some(chunk) = response.chunk().await.map_err(RequestError::of)? {
            let room = most.saturating_sub(bytes.len());
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match tokio::time::timeout(progress, reading).await {
        Ok(whole) => whole.map(|whole| (bytes, whole)),
        Err(_) => Err(RequestError::Late(format!(
            "no end of a short answer in {progress:?}"
        ))),
    }
}
