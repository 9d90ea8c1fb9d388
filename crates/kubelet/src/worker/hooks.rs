//! Lifecycle hooks: postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::{context::Context, probe};

/// A hook that has no deadline of its own ends with the pod's grace period; postStart ends after this.
pub(crate) const POST_START_TIMEOUT: Duration = Duration::from_secs(600);
/// Upstream's client timeout for httpGet hooks.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one hook to its end, which is at most `limit` away.
pub(crate) async fn run(
    ctx: &Context,
    container: &Container,
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let work = async {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let answer = ctx.runtime.exec_sync(id, &command, limit).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.exit_code == 0 {
                return Ok(());
            }
            return Err(format!(
                "command '{}' exited with {}: {}",
                command.join(" "),
                answer.exit_code,
                answer.output
            ));
        }
        if let Some(get) = &hook.http_get {
            let target = probe::http_target(container, get, pod_ip)?;
            return ctx.http.get(&target, HTTP_TIMEOUT).await.map(|_| ());
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(
                u64::try_from(sleep.seconds).unwrap_or(0),
            ))
            .await;
        }
        // tcpSocket hooks have never been run by any kubelet.
        Ok(())
    };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}
