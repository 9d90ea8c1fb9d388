//! Exec, attach and port-forward by WebSocket, against the runtime's streaming server: HTTP, negotiation, frames, channels.
//!
//! An input is lines: what is asked for (`exec stdin stdout stderr tty`, `attach …`, `forward 80 81`), the subprotocol, and then
//! what the client sends, a line each:
//!
//! ```text
//! b0text   a binary message: the channel's digit, and bytes     t0dGV4dA==   a text message as it is
//! c0       version 5's end of a channel                          p, z         a ping; the end of the connection
//! f0text   a binary frame that is not the last of its message    +text        the next one, which is
//! x0a0b    these bytes, whatever they are
//! ```
//!
//! What comes on the input's channel is what the process reads, what the process writes comes back on its channels, errors are
//! Status objects, and frames are such as a server may send. A forwarded connection brings its port and then what was sent.

mod client;
mod pod;

use std::sync::Arc;
use std::time::Duration;

use knarr_runtime::exec::{AttachRequest, ExecRequest, Executor, PortForwardRequest, Streaming};
use knarr_runtime::streaming::{Server, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::shape;

use self::client::{Answer, Script};
use self::pod::{Pod, STDERR, STDOUT};
use super::{Target, texts};

/// Of paused time: how long the server waits for a client that does nothing, and how long everything may take.
const IDLE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(600);
/// Ports that are forwarded, at most.
const MAX_PORTS: usize = 4;

pub struct Sessions {
    runtime: Runtime,
}

/// What the first line asks for.
struct Wanted {
    verb: &'static str,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    ports: Vec<u16>,
}

impl Wanted {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let verb = match words.next()? {
            "exec" => "exec",
            "attach" => "attach",
            "forward" => "forward",
            _ => return None,
        };
        let words: Vec<&str> = words.collect();
        let ports = words.iter().filter_map(|word| word.parse().ok());
        Some(Self {
            verb,
            stdin: words.contains(&"stdin"),
            stdout: words.contains(&"stdout"),
            stderr: words.contains(&"stderr"),
            tty: words.contains(&"tty"),
            ports: ports.take(MAX_PORTS).collect(),
        })
    }

    fn url(&self, urls: &dyn Streaming) -> Result<String, String> {
        let &Self {
            stdin,
            stdout,
            stderr,
            tty,
            ..
        } = self;
        let id = "c".to_owned();
        let url = match self.verb {
            "exec" => urls.exec_url(ExecRequest {
                container_id: id,
                command: vec!["x".to_owned()],
                tty,
                stdin,
                stdout,
                stderr,
            }),
            "attach" => urls.attach_url(AttachRequest {
                container_id: id,
                tty,
                stdin,
                stdout,
                stderr,
            }),
            _ => urls.port_forward_url(PortForwardRequest {
                sandbox_id: id,
                ports: self.ports.clone(),
            }),
        };
        url.map_err(|error| error.to_string())
    }
}

impl Sessions {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        Self { runtime }
    }
}

/// What the server sends, until it closes.
async fn session(wanted: &Wanted, script: &Script, pod: Arc<Pod>) -> Result<Vec<u8>, String> {
    let timeouts = Timeouts {
        idle: IDLE,
        ..Timeouts::default()
    };
    let server = Server::bind(timeouts).await;
    let server = server.map_err(|error| error.to_string())?;
    let url = wanted.url(&*server.urls())?;
    let path = url.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
    let (client, far) = tokio::io::duplex(64 << 10);
    let (mut reader, mut writer) = tokio::io::split(client);
    let executor: Arc<dyn Executor> = pod;
    let serving = server.serve(far, executor, CancellationToken::new());
    let writing = async {
        // A server that has gone takes nothing.
        let _ = writer.write_all(&script.request(&path)).await;
        let _ = writer.write_all(&script.wire).await;
        writer
    };
    let reading = async {
        let mut all = Vec::new();
        let _ = reader.read_to_end(&mut all).await;
        all
    };
    let all = async {
        let client = async {
            let (_writer, all) = tokio::join!(writing, reading);
            all
        };
        tokio::join!(serving, client).1
    };
    tokio::time::timeout(LIMIT, all)
        .await
        .map_err(|_| "the session does not end".to_owned())
}

/// What an exec or attach has to have come to.
fn command(wanted: &Wanted, script: &Script, answer: &Answer, stdin: &[u8]) -> Result<(), String> {
    if let Some(text) = answer.channels.get(&3)
        && script.has_status()
    {
        let status = serde_json::from_slice::<serde_json::Value>(text);
        let status = status.map_err(|error| format!("the status is none: {error}"))?;
        if !matches!(status["status"].as_str(), Some("Success" | "Failure")) {
            return Err(format!("the status is {status}"));
        }
    }
    if wanted.tty {
        return Ok(());
    }
    let sent = script.sent(0);
    if wanted.stdin && script.is_known() && !sent.starts_with(stdin) {
        return Err(format!("the process reads {stdin:?} of {sent:?}"));
    }
    for (channel, text, wanted) in [(1, STDOUT, wanted.stdout), (2, STDERR, wanted.stderr)] {
        let back = answer.channel(channel);
        let whole = script.is_clean() && wanted;
        if !text.starts_with(back) || whole && back != text {
            return Err(format!("channel {channel} brings {back:?}"));
        }
    }
    if wanted.stdin && script.is_clean() && stdin != sent {
        return Err(format!("the process reads only {stdin:?} of {sent:?}"));
    }
    Ok(())
}

fn forward(wanted: &Wanted, script: &Script, answer: &Answer) -> Result<(), String> {
    for (index, port) in (0..).zip(&wanted.ports) {
        let port = port.to_le_bytes();
        let (data, error) = (answer.channel(2 * index), answer.channel(2 * index + 1));
        if !data.is_empty() && !data.starts_with(&port)
            || !error.is_empty() && !error.starts_with(&port)
        {
            return Err(format!("pair {index} begins with another port"));
        }
        let (sent, back) = (script.sent(2 * index), data.get(2..).unwrap_or_default());
        if script.is_known() && !sent.starts_with(back) {
            return Err(format!("pair {index} brings {back:?} of {sent:?}"));
        }
    }
    Ok(())
}

impl Target for Sessions {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "exec stdin stdout stderr\nv5.channel.k8s.io\nb0hello\nb0 again\nc0\n",
            "exec stdin stdout tty\nv4.channel.k8s.io\nb0ls\nb4{\"Width\":80,\"Height\":24}\np\n",
            "attach stdin stdout\nbase64.channel.k8s.io\nt0aGVsbG8=\nt0=\nz\n",
            "exec stderr\nchannel.k8s.io\nb1x\n",
            "forward 80 81\nv4.channel.k8s.io\nb0GET\nb2POST\nz\n",
            "forward 80\nSPDY/3.1+portforward.k8s.io\nx828480000000800300010000000a0000000000\n",
            "exec stdin\nv9.channel.k8s.io,v5.channel.k8s.io\nf0he\np\n+llo\nx8b80000000\n",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "exec",
            "attach",
            "forward",
            " 82",
            " stdin",
            " stdout",
            " tty",
            "v5.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "\nb0",
            "\nb4{\"Width\":1,\"Height\":65536}",
            "\nc0\n",
            "\nc255\n",
            "\nt0YQ==\n",
            "\np\n",
            "\nz\n",
            "\nf0",
            "\n+",
            "\nx82fe",
            "\nx88",
            "\n",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.split('\n');
        let (Some(wanted), Some(protocol)) = (lines.next().and_then(Wanted::read), lines.next())
        else {
            return Ok(0);
        };
        let script = Script::read(protocol, lines);
        let answer = self.runtime.block_on(async {
            let pod = Arc::new(Pod::new().await?);
            let received = session(&wanted, &script, pod.clone()).await?;
            Ok::<_, String>((Answer::read(&received)?, pod.stdin()))
        });
        let (answer, stdin) = answer?;
        match wanted.verb {
            "forward" => forward(&wanted, &script, &answer)?,
            _ if answer.upgraded => command(&wanted, &script, &answer, &stdin)?,
            _ => {}
        }
        let channels: Vec<u8> = answer.channels.keys().copied().collect();
        Ok(shape::exact(format!(
            "{} {} {channels:?} {} {}",
            wanted.verb,
            answer.head,
            stdin.len().min(2),
            answer.closed,
        )))
    }
}
