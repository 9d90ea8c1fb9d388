//! Asking one node.

use futures::{AsyncBufReadExt, StreamExt};
use http::Request;
use kube::Client;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio::sync::mpsc;

use crate::cli::Logs;

/// A line of a log, as nodes tell it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// RFC 3339 with nanoseconds: times are in the order of their texts.
    pub time: String,
    pub node: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    pub container: String,
    pub stream: String,
    pub message: String,
}

/// What a node has to say.
pub enum Answer {
    /// Of what there was.
    Found(Line),
    /// All that there was has been told.
    End,
    Live(Line),
    Failed {
        node: String,
        error: String,
    },
    Warning(String),
    /// For whoever waits.
    Progress(String),
}

/// A line of an answer.
#[derive(Deserialize)]
#[serde(untagged)]
enum Frame {
    Line(Line),
    Progress {
        progress: Progress,
    },
    End {
        end: End,
    },
    Missed {
        missed: u64,
    },
    /// Of a newer node.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Progress {
    searched: u64,
    of: u64,
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    unread: u64,
}

/// The query of a URL.
pub fn query(flags: &Logs) -> String {
    let mut query = format!("limit={}", flags.tail);
    let mut put = |key: &str, value: &str| {
        let value: String = value.bytes().map(encode).collect();
        query += &format!("&{key}={value}");
    };
    for (key, value) in [
        ("namespace", &flags.namespace),
        ("pod", &flags.pod),
        ("container", &flags.container),
        ("labelSelector", &flags.selector),
        ("grep", &flags.grep),
        ("regex", &flags.regex),
    ] {
        if let Some(value) = value {
            put(key, value);
        }
    }
    if let Some(since) = flags.since {
        put("sinceSeconds", &since.as_secs().max(1).to_string());
    }
    for (key, value) in [("ignoreCase", flags.ignore_case), ("follow", flags.follow)] {
        if value {
            put(key, "true");
        }
    }
    query
}

fn encode(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    }
}

/// Asks, and hands on what comes, until there is no more or nobody wants it.
pub async fn node(client: Client, node: String, query: String, to: mpsc::Sender<Answer>) {
    let asked = ask(&client, &node, &query, &to).await;
    if let Err(error) = asked {
        // Whoever is gone needs no answer.
        let _ = to.send(Answer::Failed { node, error }).await;
    }
}

async fn ask(
    client: &Client,
    node: &str,
    query: &str,
    to: &mpsc::Sender<Answer>,
) -> Result<(), String> {
    let path = format!("/api/v1/nodes/{node}/proxy/knarr/logs?{query}");
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.request_stream(request).await;
    let mut lines = answer.map_err(|error| reason(&error))?.lines();
    let mut has_ended = false;
    while let Some(line) = lines.next().await {
        let line = line.map_err(|error| error.to_string())?;
        let told = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let answer = match told {
            Frame::Line(line) if has_ended => Answer::Live(line),
            Frame::Line(line) => Answer::Found(line),
            Frame::Progress { progress } => {
                let Progress { searched, of } = progress;
                Answer::Progress(format!("{node}: {searched} of {of} blocks searched"))
            }
            Frame::End { end } => {
                has_ended = true;
                if end.unread > 0 {
                    let unread = end.unread;
                    let note = format!("{node}: {unread} blocks of logs could not be read");
                    let _ = to.send(Answer::Warning(note)).await;
                }
                Answer::End
            }
            Frame::Missed { missed } => Answer::Warning(format!(
                "{node}: {missed} lines were missed: they came too fast"
            )),
            Frame::Other(IgnoredAny) => continue,
        };
        if to.send(answer).await.is_err() {
            return Ok(());
        }
    }
    match has_ended {
        true => Ok(()),
        false => Err("the answer has ended before its end".to_owned()),
    }
}

fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.trim().to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn flags_are_a_query() {
        for (flags, wanted) in [
            ("", "limit=100"),
            ("--tail 5 -f", "limit=5&follow=true"),
            (
                "-n a --pod b -c d -l x=y,z --since 90s",
                "limit=100&namespace=a&pod=b&container=d&labelSelector=x%3Dy%2Cz&sinceSeconds=90",
            ),
            ("--grep ä&b -i", "limit=100&grep=%C3%A4%26b&ignoreCase=true"),
            ("-E ^a+$", "limit=100&regex=%5Ea%2B%24"),
        ] {
            let words = ["knarr", "logs"]
                .into_iter()
                .chain(flags.split_whitespace());
            let Ok(Cli {
                command: Command::Logs(flags),
            }) = Cli::try_parse_from(words)
            else {
                panic!("{flags} is refused");
            };
            assert_eq!(query(&flags), wanted);
        }
    }
}
