//! `knarr logs`: lines of all nodes' logs, of pods that are gone too.
//!
//! Each node is asked through the API server. It answers with the newest lines first; of all of them the newest are printed, in the order
//! of their times, so that what is followed goes on below. A node that does not answer is told of, and the others' lines are shown.

mod ask;
mod text;

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::{sync::mpsc, time::timeout};

use self::{
    ask::{Answer, Line},
    text::Printer,
};
use crate::{cli::Logs, token};

/// The list of nodes has to be there by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of all nodes that wait to be printed.
const QUEUE_LINES: usize = 1_024;

pub fn run(flags: &Logs) -> Result<()> {
    if flags.tail > knarr_logs::MAX_LIMIT {
        bail!("--tail is at most {}", knarr_logs::MAX_LIMIT);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(show(flags))
}

async fn show(flags: &Logs) -> Result<()> {
    let asked = async {
        let client = token::client(&flags.access).await?;
        let nodes = nodes(&client, flags).await?;
        Ok::<_, anyhow::Error>((client, nodes))
    };
    let (client, nodes) = timeout(ANSWER_TIMEOUT, asked)
        .await
        .context("the API server takes too long")??;
    let query = ask::query(flags);
    let (sender, mut answers) = mpsc::channel(QUEUE_LINES);
    for node in &nodes {
        let asking = ask::node(client.clone(), node.clone(), query.clone(), sender.clone());
        knarr_tasks::spawn("a query of logs", asking);
    }
    drop(sender);
    let mut printer = Printer::new(flags.output);
    let (mut found, mut live) = (Vec::new(), Vec::new());
    let mut failed = Vec::new();
    let mut left = nodes.len();
    while left > 0 {
        match answers.recv().await {
            Some(Answer::Found(line)) => found.push(line),
            Some(Answer::Live(line)) => live.push(line),
            Some(Answer::End) => left -= 1,
            Some(Answer::Failed { node, error }) => {
                left -= 1;
                failed.push((node, error));
            }
            Some(Answer::Warning(note)) => eprintln!("{note}"),
            Some(Answer::Progress(progress)) if stderr().is_terminal() => eprintln!("{progress}"),
            Some(Answer::Progress(_)) => {}
            None => break,
        }
    }
    newest(&mut found, flags.tail);
    found.extend(live);
    for line in &found {
        printer.print(line)?;
    }
    printer.flush()?;
    for (node, error) in &failed {
        eprintln!("{}", text::failure(node, error));
    }
    if !nodes.is_empty() && failed.len() == nodes.len() {
        bail!("no node has answered");
    }
    if flags.follow {
        follow(&mut answers, &mut printer).await?;
    } else if found.is_empty() {
        eprintln!(
            "no lines found; --since, --grep, --namespace, --selector and --pod narrow what is searched"
        );
    }
    Ok(())
}

async fn follow(answers: &mut mpsc::Receiver<Answer>, printer: &mut Printer) -> Result<()> {
    while let Some(answer) = answers.recv().await {
        match answer {
            Answer::Found(line) | Answer::Live(line) => printer.print(&line)?,
            Answer::Warning(note) => eprintln!("{note}"),
            Answer::Failed { node, error } => eprintln!("{}", text::failure(&node, &error)),
            Answer::End | Answer::Progress(_) => {}
        }
        if answers.is_empty() {
            printer.flush()?;
        }
    }
    bail!("no node answers any more")
}

async fn nodes(client: &Client, flags: &Logs) -> Result<Vec<String>> {
    let nodes = Api::<Node>::all(client.clone());
    if let Some(name) = &flags.node {
        let found = nodes.get_opt(name).await.context("cannot read the node")?;
        found.with_context(|| format!("there is no node {name}; kubectl get nodes lists them"))?;
        return Ok(vec![name.clone()]);
    }
    let list = nodes.list(&ListParams::default()).await;
    let list = list.context("cannot list the nodes")?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

/// Leaves the newest, in the order of their times.
fn newest(lines: &mut Vec<Line>, count: usize) {
    // Stable, and what a node has told first is newer.
    lines.reverse();
    lines.sort_by(|a, b| a.time.cmp(&b.time));
    lines.drain(..lines.len().saturating_sub(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_all_nodes_are_in_order() {
        let line = |time: &str, message: &str| Line {
            time: format!("2030-01-01T00:00:0{time}.000000000Z"),
            message: message.to_owned(),
            ..Line::default()
        };
        let mut lines = vec![
            line("5", "e"),
            line("3", "c2"),
            line("3", "c1"),
            line("1", "a"),
            line("4", "d"),
            line("2", "b"),
        ];
        newest(&mut lines, 4);
        let texts: Vec<&str> = lines.iter().map(|line| &*line.message).collect();
        assert_eq!(texts, ["c1", "c2", "d", "e"]);
        newest(&mut lines, 0);
        assert!(lines.is_empty());
    }
}
