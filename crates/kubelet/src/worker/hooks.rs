//! Lifecycle hooks: postStart and preStop.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Container, LifecycleHandler, Pod},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    context::{self, Context},
    events::WARNING,
    probe,
};

/// A hook that has no deadline of its own ends with the pod's grace period; postStart ends after this.
pub(crate) const POST_START_TIMEOUT: Duration = Duration::from_secs(600);
/// Upstream's client timeout for httpGet hooks.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one hook to its end, which is at most `limit` away. The error is as the status of the container tells it.
pub(crate) async fn run(
    ctx: &Context,
    (pod, container): (&Pod, &Container),
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let outcome =
        match tokio::time::timeout(limit, work(ctx, (pod, container), id, pod_ip, hook, limit))
            .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new("context deadline exceeded")),
        };
    outcome.map_err(|failure| told(pod, container, hook, &failure))
}

/// Why a hook failed, and what its command said.
struct Failure {
    error: String,
    output: String,
}

impl Failure {
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            output: String::new(),
        }
    }
}

async fn work(
    ctx: &Context,
    (pod, container): (&Pod, &Container),
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), Failure> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let answer = ctx.runtime.exec_sync(id, &command, limit).await;
        let answer = answer.map_err(|error| Failure::new(error.to_string()))?;
        if answer.exit_code == 0 {
            return Ok(());
        }
        let (command, code) = (command.join(" "), answer.exit_code);
        return Err(Failure {
            error: format!("command '{command}' exited with {code}: {}", answer.errors),
            output: answer.output,
        });
    }
    if let Some(get) = &hook.http_get {
        let target = probe::http_target(container, get, pod_ip).map_err(Failure::new)?;
        return ask(ctx, pod, &target).await.map_err(Failure::new);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(
            u64::try_from(sleep.seconds).unwrap_or(0),
        ))
        .await;
        return Ok(());
    }
    // Validation lets a tcpSocket pass, which no kubelet has ever run: as upstream's, such a hook fails.
    Err(Failure::new(invalid(hook)))
}

/// Upstream's words for a hook that no kubelet runs.
pub(super) fn invalid(hook: &LifecycleHandler) -> String {
    let socket = hook.tcp_socket.as_ref().map_or("nil".to_owned(), |socket| {
        let port = match &socket.port {
            IntOrString::Int(number) => format!("{{0 {number} }}"),
            IntOrString::String(name) => format!("{{1 0 {name}}}"),
        };
        let host = socket.host.as_deref().unwrap_or_default();
        format!("&TCPSocketAction{{Port:{port},Host:{host},}}")
    });
    format!(
        "invalid handler: &LifecycleHandler{{Exec:nil,HTTPGet:nil,TCPSocket:{socket},Sleep:nil,}}"
    )
}

/// Any answer will do. A hook that is to be asked over TLS and does not speak it is asked without, as upstream does
/// (`pkg/kubelet/lifecycle/handlers.go`).
async fn ask(ctx: &Context, pod: &Pod, target: &probe::Target) -> Result<(), String> {
    let Err(error) = ctx.http.get(target, HTTP_TIMEOUT).await else {
        return Ok(());
    };
    if !probe::is_not_tls(&error) || ctx.http.get(&target.plain(), HTTP_TIMEOUT).await.is_err() {
        return Err(error);
    }
    let note = format!(
        "request to HTTPS lifecycle hook {} got HTTP response, retry with HTTP succeeded",
        target.authority()
    );
    ctx.events.pod(pod, WARNING, "LifecycleHTTPFallback", note);
    Ok(())
}

/// Upstream's message about a hook that failed.
fn told(pod: &Pod, container: &Container, hook: &LifecycleHandler, failure: &Failure) -> String {
    let (name, pod, error) = (&container.name, context::display(pod), &failure.error);
    let failed = format!("for Container {name:?} in Pod {pod:?} failed - error: {error}");
    if let Some(exec) = &hook.exec {
        let command = exec.command.as_deref().unwrap_or_default().join(" ");
        let output = &failure.output;
        return format!("Exec lifecycle hook ([{command}]) {failed}, message: {output:?}");
    }
    if let Some(get) = &hook.http_get {
        let path = get.path.as_deref().unwrap_or_default();
        return format!("HTTP lifecycle hook ({path}) {failed}");
    }
    match &hook.sleep {
        Some(sleep) => format!("Sleep lifecycle hook ({}) {failed}", sleep.seconds),
        None => format!("Cannot run handler: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_are_told_with_their_hook() {
        let pod = crate::testing::pod(json!({"containers": [{"name": "a"}]}));
        let container = Container {
            name: "a".to_owned(),
            ..Default::default()
        };
        let failure = Failure {
            error: "command 'sh -c x' exited with 7: boo\n".to_owned(),
            output: "boo\n".to_owned(),
        };
        let of = |hook: serde_json::Value| {
            let hook = serde_json::from_value(hook).expect("a hook");
            told(&pod, &container, &hook, &failure)
        };
        let pod = context::display(&pod);
        let failed = format!(
            "for Container \"a\" in Pod \"{pod}\" failed - error: command 'sh -c x' exited with 7: boo\n"
        );
        assert_eq!(
            of(json!({"exec": {"command": ["sh", "-c", "x"]}})),
            format!("Exec lifecycle hook ([sh -c x]) {failed}, message: \"boo\\n\"")
        );
        assert_eq!(
            of(json!({"httpGet": {"path": "/p", "port": 1}})),
            format!("HTTP lifecycle hook (/p) {failed}")
        );
        assert_eq!(
            of(json!({"sleep": {"seconds": 3}})),
            format!("Sleep lifecycle hook (3) {failed}")
        );
    }
}
