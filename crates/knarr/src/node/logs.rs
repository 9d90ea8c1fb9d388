//! The log agent of a node: follows what pods and the node itself log, and keeps it searchable.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, Result};
use http::StatusCode;
use knarr_client::Informers;
use knarr_kubelet::NodeLogs;
use knarr_logs::{Agent, Config, Refused, Searcher};
use tokio::sync::mpsc;
use tokio_util::{bytes::Bytes, sync::CancellationToken};

use super::Parts;
use crate::logging;

/// Starts it; what answers queries, unless nothing is retained or forwarded.
pub(super) fn start(parts: &Parts<'_>) -> Result<Option<Arc<dyn NodeLogs>>> {
    let settings = parts.settings;
    let config = Config {
        node_name: settings.name.clone(),
        directory: settings.host.data_dir.join("logs"),
        own_log: logging::file(),
        retention_bytes: settings.flags.log_retention_size,
        retention_age: settings.flags.log_retention_age,
        forwarding: settings.flags.forwarding()?,
    };
    if !config.is_on() {
        return Ok(None);
    }
    let agent = Agent::new(config)?;
    let searcher = agent.searcher();
    let user = format!("system:node:{}", settings.name);
    let client = parts
        .clients
        .as_user(&user, &["system:nodes", "system:authenticated"]);
    let token = parts.tasks.token().child_token();
    parts
        .tasks
        .keep_apart("log agent", move || async move {
            let informers = Informers::new(client, token.clone());
            agent.run(&informers, token).await;
        })
        .context("the log agent has no thread")?;
    Ok(Some(Arc::new(Answers(searcher))))
}

/// What the kubelet's server asks.
#[derive(Debug)]
struct Answers(Searcher);

impl NodeLogs for Answers {
    fn answer(
        &self,
        query: &str,
        token: CancellationToken,
    ) -> Result<mpsc::Receiver<Bytes>, (StatusCode, String)> {
        self.0.answer(query, token).map_err(|refused| {
            let status = match refused {
                Refused::Query(_) => StatusCode::BAD_REQUEST,
                Refused::TooMany => StatusCode::TOO_MANY_REQUESTS,
                Refused::NothingRetained => StatusCode::NOT_FOUND,
            };
            (status, refused.to_string())
        })
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        for metric in self.0.metrics() {
            // Writing to a string cannot fail.
            let _ok = write!(text, "{metric}");
        }
        text
    }
}
