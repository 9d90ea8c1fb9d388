//! `knarr secrets`: a new key for what is encrypted in the store.
//!
//! The process that serves the API does it; the command has it begin, and tells how far it is. A command that is interrupted interrupts
//! nothing.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use knarr_apiserver::server::rotation::{Phase, Progress, Rotation};
use knarr_tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    cli::{SecretsAction, SecretsCommand},
    control,
};

/// Below the data directory.
const SOCKET: &str = "run/secrets.sock";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// What is asked of the process that serves the API.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Rotate,
    Status,
}

/// Does what is asked.
///
/// # Errors
/// When nobody could ask.
pub fn serve(rotation: Arc<Rotation>, data_dir: &Path, tasks: &Tasks) -> Result<()> {
    let listener = control::listen(&data_dir.join(SOCKET));
    let listener = listener.context("cannot listen for commands to rotate keys")?;
    let token = tasks.token().clone();
    tasks.keep("rotation of keys", async move {
        let obey = |request: Request| {
            let rotation = rotation.clone();
            async move {
                if matches!(request, Request::Rotate) {
                    rotation.begin().map_err(|why| anyhow!(why))?;
                }
                Ok(rotation.progress())
            }
        };
        let served = token.run_until_cancelled(control::serve(listener, obey));
        if let Some(Err(error)) = served.await {
            tracing::error!(%error, "nobody can have keys rotated any more");
            token.cancelled().await;
        }
    });
    Ok(())
}

pub fn run(command: &SecretsCommand) -> Result<()> {
    let data_dir = &command.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let socket = data_dir.join(SOCKET);
    match command.action {
        SecretsAction::Rotate => runtime.block_on(rotate(&socket)),
        SecretsAction::Status => runtime.block_on(status(&socket)),
    }
}

async fn ask(socket: &Path, request: &Request) -> Result<Progress> {
    let answer = control::ask(socket, request, ANSWER_TIMEOUT).await?;
    answer.with_context(|| {
        format!(
            "no knarr with an API server listens on {}: it does not run, or --data-dir names another",
            socket.display()
        )
    })
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn status(socket: &Path) -> Result<()> {
    println!("{}", summary(&ask(socket, &Request::Status).await?));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn rotate(socket: &Path) -> Result<()> {
    let mut progress = ask(socket, &Request::Rotate).await?;
    // One line that changes, where somebody looks.
    let live = std::io::stdout().is_terminal();
    while progress.phase == Phase::Writing {
        if live {
            print!("\r{}", summary(&progress));
            std::io::stdout().flush()?;
        }
        sleep(POLL).await;
        progress = ask(socket, &Request::Status).await?;
    }
    if live {
        print!("\r");
    }
    println!("{}", summary(&progress));
    match progress.phase {
        Phase::Failed => bail!("not everything is encrypted with the newest key; rotate again"),
        _ => Ok(()),
    }
}

fn summary(progress: &Progress) -> String {
    let Progress {
        done,
        total,
        failed,
        ..
    } = progress;
    let mut text = match progress.phase {
        Phase::None => "no rotation since knarr has started".to_owned(),
        Phase::Writing => format!("{done} of {total} objects written"),
        Phase::History => format!(
            "{done} objects written with the new key; the replaced one is kept until the store's history ends after them, some minutes"
        ),
        Phase::Done if progress.own_key => {
            format!("{done} objects written with the new key; the replaced one is gone")
        }
        Phase::Done => format!("{done} objects written with the newest key"),
        Phase::Failed => format!("{done} of {total} objects written, {failed} failed"),
    };
    if let Some(error) = &progress.error {
        text.push_str(&format!(" ({error})"));
    }
    if progress.unreadable > 0 {
        text.push_str(&format!(
            "; {} cannot be read, and are as they were",
            progress.unreadable
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told() {
        let progress = Progress {
            phase: Phase::Failed,
            own_key: true,
            total: 3,
            done: 1,
            failed: 1,
            unreadable: 2,
            error: Some("/a: no".to_owned()),
        };
        assert_eq!(
            summary(&progress),
            "1 of 3 objects written, 1 failed (/a: no); 2 cannot be read, and are as they were"
        );
        let done = Progress {
            phase: Phase::Done,
            done: 3,
            ..Progress::default()
        };
        assert_eq!(summary(&done), "3 objects written with the newest key");
    }
}
