//! Sending archives to the runtime.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use knarr_cri::{
    images::{ImportRequest, ImportResponse, images_client::ImagesClient},
    tonic::{Code, transport::Channel},
    v1::Image,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{Node, reason, say, text};

/// How much is sent at a time, bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that are read ahead.
const PIECES_AHEAD: usize = 4;
/// For one archive, unpacking included.
const TIMEOUT: Duration = Duration::from_secs(3_600);
/// Between two lines of progress on a terminal.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// Where images come from.
enum Source {
    Input,
    Archive(PathBuf),
    /// An unpacked OCI layout.
    Layout(PathBuf),
}

/// Imports all of them; the first that fails ends it.
pub(super) async fn run(node: &Node, archives: &[PathBuf]) -> Result<()> {
    if node.foreign {
        bail!(
            "import is for the embedded container runtime; this cluster's has tools of its own, such as: ctr -n k8s.io images import FILE"
        );
    }
    let mut client = knarr_cri::connect_images(&node.endpoint).await?;
    for source in sources(archives)? {
        let name = source.name();
        let sent = send(&mut client, source).await;
        let imported = sent.with_context(|| format!("cannot import {name}"))?;
        for image in imported.images {
            let image = Image {
                id: image.id,
                repo_tags: image.repo_tags,
                size: image.size,
                ..Image::default()
            };
            for line in text::each_name(&image) {
                say(&format!("imported {line}"));
            }
        }
        for skipped in imported.skipped {
            say(&format!("skipped {skipped}"));
        }
    }
    Ok(())
}

fn sources(archives: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in archives {
        if path.as_os_str() == "-" {
            sources.push(Source::Input);
        } else if !path.is_dir() {
            sources.push(Source::Archive(path.clone()));
        } else if ["index.json", "manifest.json"]
            .iter()
            .any(|name| path.join(name).is_file())
        {
            sources.push(Source::Layout(path.clone()));
        } else {
            let found = crate::archives::in_directory(path)?;
            if found.is_empty() {
                bail!(
                    "{} has no archives (.tar, .tgz, .gz, .zst) and is no OCI layout",
                    path.display()
                );
            }
            sources.extend(found.into_iter().map(Source::Archive));
        }
    }
    Ok(sources)
}

impl Source {
    fn name(&self) -> String {
        match self {
            Source::Input => "standard input".to_owned(),
            Source::Archive(path) | Source::Layout(path) => path.display().to_string(),
        }
    }

    /// Bytes, where that is known.
    fn size(&self) -> Option<u64> {
        match self {
            Source::Archive(path) => path.metadata().ok().map(|metadata| metadata.len()),
            Source::Input | Source::Layout(_) => None,
        }
    }

    /// Writes the archive. Blocks.
    fn write(&self, to: &mut Pieces) -> io::Result<()> {
        let written = match self {
            Source::Input => copy(io::stdin().lock(), to),
            Source::Archive(path) => copy(File::open(path)?, to),
            Source::Layout(path) => layout(path, &mut *to),
        };
        written.and_then(|()| to.flush())
    }
}

fn copy(mut from: impl Read, to: &mut Pieces) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

fn layout(path: &Path, to: &mut Pieces) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    // What links lead to may be anywhere.
    tar.follow_symlinks(false);
    tar.append_dir_all("", path)?;
    tar.finish()
}

/// Cuts what is written into pieces and sends them.
struct Pieces {
    piece: Vec<u8>,
    to: mpsc::Sender<ImportRequest>,
    progress: Progress,
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES.saturating_sub(self.piece.len());
        let taken = data.len().min(room);
        self.piece.extend_from_slice(&data[..taken]);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let data = std::mem::take(&mut self.piece);
        self.progress.add(data.len() as u64);
        // Nobody takes it any more: the answer says why.
        self.to
            .blocking_send(ImportRequest { data })
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn send(client: &mut ImagesClient<Channel>, source: Source) -> Result<ImportResponse> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let progress = Progress::new(source.size());
    let mut writing = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces {
            piece: Vec::new(),
            to: sender,
            progress,
        };
        let written = source.write(&mut pieces);
        pieces.progress.end(written.is_ok());
        (written, pieces)
    });
    let asked = timeout(TIMEOUT, client.import(ReceiverStream::new(receiver)));
    tokio::pin!(asked);
    let answer = tokio::select! {
        answer = &mut asked => answer,
        written = &mut writing => {
            let (written, pieces) = written.context("reading was aborted")?;
            // The stream must not end before this: what is a part of an archive would pass for a whole one.
            match written {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
                _ => drop(pieces),
            }
            asked.await
        }
    };
    match answer.context("it takes too long")? {
        Ok(answer) => Ok(answer.into_inner()),
        Err(error) if error.code() == Code::Unimplemented => {
            bail!("the knarr that runs is of another version; restart it")
        }
        Err(error) => Err(reason(&error)),
    }
}

/// How much has been sent, on a terminal.
struct Progress {
    shown: Option<Instant>,
    sent: u64,
    of: String,
}

impl Progress {
    fn new(size: Option<u64>) -> Self {
        let shown = io::stderr().is_terminal().then(Instant::now);
        let of = size
            .map(|size| format!(" of {}", text::size(size)))
            .unwrap_or_default();
        Self { shown, sent: 0, of }
    }

    fn add(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
        if self.shown.is_some_and(|at| at.elapsed() >= PROGRESS_PERIOD) {
            self.show(&format!("{}{}", text::size(self.sent), self.of));
            self.shown = Some(Instant::now());
        }
    }

    fn end(&mut self, whole: bool) {
        if self.shown.is_some() {
            self.show(if whole { "unpacking" } else { "" });
            self.show("");
        }
    }

    fn show(&self, what: &str) {
        // Who does not see it misses nothing else.
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }
}
