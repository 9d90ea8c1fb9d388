//! What a container gets with its devices: those of its claims, and those of device plugins.

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1;

use crate::context::Context;

/// Adds it to what the runtime is told of a container, which is about to start.
///
/// # Errors
/// Where a claim was not prepared, or a plugin cannot prepare its devices.
pub(super) async fn add(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    config: &mut v1::ContainerConfig,
) -> Result<(), String> {
    ctx.devices.pre_start(pod, container).await?;
    let options = ctx.devices.options(pod, container);
    config.mounts.extend(options.mounts());
    config.devices.extend(options.devices());
    config.cdi_devices = ctx.dra.cdi_devices(pod, container)?;
    let of_plugins = options.cdi.into_iter().map(|name| v1::CdiDevice { name });
    config.cdi_devices.extend(of_plugins);
    // What the pod says wins.
    let variables = options.variables.into_iter();
    let mut envs: Vec<v1::KeyValue> = variables
        .map(|(key, value)| v1::KeyValue { key, value })
        .collect();
    envs.append(&mut config.envs);
    config.envs = envs;
    for (key, value) in options.annotations {
        config.annotations.entry(key).or_insert(value);
    }
    Ok(())
}
