//! Reading a log as `kubectl logs` asks for it.

use std::io::SeekFrom;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader, Take},
    sync::{mpsc, watch},
};

use super::{
    Log, follow,
    line::{self, MAX_LINE_BYTES},
    tail,
};

/// Sent to the client in pieces of about this size.
const CHUNK_BYTES: usize = 16 << 10;

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    pub timestamps: bool,
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    /// `None` is both.
    pub stdout: Option<bool>,
}

impl Options {
    /// From the query of a log request; the error is for the client.
    pub fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (key, value) in pairs(query) {
            let number = || -> Result<u64, String> {
                value
                    .parse()
                    .map_err(|_| format!("invalid value {value:?} for {key}"))
            };
            match key.as_str() {
                "follow" => options.follow = truth(&value),
                "timestamps" => options.timestamps = truth(&value),
                // "all" is what some clients send.
                "tailLines" if value != "all" => options.tail = Some(number()?),
                "limitBytes" => options.limit_bytes = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).map_err(|error| error.to_string())?;
                    options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => {
                    let time = value.parse();
                    options.since =
                        Some(time.map_err(|error| format!("invalid sinceTime: {error}"))?);
                }
                "stream" => {
                    options.stdout = match value.as_str() {
                        "Stdout" => Some(true),
                        "Stderr" => Some(false),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

pub(crate) fn truth(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "True")
}

/// Key and value of each part of a query, decoded.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

/// Sends the log's text into `out`; ends at its end, or when following, when `alive` says that the container has
/// ended and all it wrote has been sent. Ends early when nobody listens.
pub async fn send(
    log: Log,
    options: Options,
    alive: watch::Receiver<bool>,
    out: mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut sender = Sender {
        out,
        buffer: Vec::new(),
        left: options.limit_bytes,
        within_line: false,
    };
    if let Err(error) = sender.run(&log, &options, alive).await
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        // The client is told by a broken body; a second failure means it has gone.
        let _gone = sender.out.send(Err(error)).await;
    }
}

struct Sender {
    out: mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
    left: Option<u64>,
    /// Whether what was sent last is a part of a line, which goes on.
    within_line: bool,
}

impl Sender {
    async fn run(
        &mut self,
        log: &Log,
        options: &Options,
        alive: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let mut watcher = match options.follow {
            true => Some(follow::Watcher::new(log.path(), alive)?),
            false => None,
        };
        let mut file = log.open_off_thread().await?;
        let length = file.metadata().await?.len();
        let from = match options.tail {
            Some(lines) => tail::offset(&mut file, length, lines).await?,
            None => 0,
        };
        file.seek(SeekFrom::Start(from)).await?;
        // Who does not follow gets the log as it was when it was asked for: no line more than the last ones that were wanted, and an
        // end however fast the container writes.
        let rest = match options.follow {
            true => u64::MAX,
            false => length.saturating_sub(from),
        };
        let mut reader = BufReader::new(file.take(rest));
        let mut raw = Vec::new();
        loop {
            let ended = watcher.as_mut().is_none_or(follow::Watcher::ended);
            let read = (&mut reader)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut raw)
                .await?;
            let whole = raw.ends_with(b"\n") || raw.len() as u64 >= MAX_LINE_BYTES;
            if read > 0 && whole {
                if !self.line(&raw, options).await? {
                    return Ok(());
                }
                raw.clear();
                continue;
            }
            self.flush().await?;
            // `ended` was asked before the read: nothing can have been written since.
            let Some(watcher) = watcher.as_mut().filter(|_| !ended) else {
                return Ok(());
            };
            tokio::select! {
                woken = watcher.wait() => if woken? == follow::Woken::Rotated {
                    drain_old(self, &mut reader, &mut raw, options).await?;
                    reader = BufReader::new(log.open_off_thread().await?.take(u64::MAX));
                    raw.clear();
                },
                () = self.out.closed() => return Ok(()),
            }
        }
    }

    /// Returns whether more may be sent.
    async fn line(&mut self, raw: &[u8], options: &Options) -> std::io::Result<bool> {
        let Some(line) = line::parse(raw) else {
            return Ok(true);
        };
        if options.stdout.is_some_and(|wanted| wanted != line.stdout) {
            return Ok(true);
        }
        if let Some(since) = options.since
            && line.timestamp().is_some_and(|time| time < since)
        {
            return Ok(true);
        }
        let mut text = Vec::with_capacity(line.text.len() + 40);
        // A long line is several in the file, and has one time for whoever reads it.
        if options.timestamps && !self.within_line {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if line.full {
            text.push(b'\n');
        }
        self.within_line = !line.full;
        if let Some(left) = &mut self.left {
            let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
            text.truncate(fits);
            *left -= fits as u64;
        }
        self.buffer.extend_from_slice(&text);
        let done = self.left == Some(0);
        if done || self.buffer.len() >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(!done)
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let sent = self.out.send(Ok(bytes)).await;
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

/// Sends what the rotated file still holds.
async fn drain_old(
    sender: &mut Sender,
    reader: &mut BufReader<Take<File>>,
    raw: &mut Vec<u8>,
    options: &Options,
) -> std::io::Result<()> {
    while reader.take(MAX_LINE_BYTES).read_until(b'\n', raw).await? > 0 {
        sender.line(raw, options).await?;
        raw.clear();
    }
    sender.flush().await
}
