//! How commands reach a cluster as its administrator: by a kubeconfig.

use std::path::Path;

use anyhow::{Context, Result, bail};
use knarr_client::throttle;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// A client by what a kubeconfig says. Its API server is reached as the cluster's own parts reach it: proxies that the environment names are for
/// registries and other places on the Internet.
///
/// # Errors
/// When there is none, it is no kubeconfig, or it names a proxy.
pub async fn by_kubeconfig(path: &Path) -> Result<Client> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = direct(kubeconfig)
        .await
        .with_context(|| format!("{} is not usable", path.display()))?;
    throttle::client(config).context("cannot make a client")
}

async fn direct(kubeconfig: Kubeconfig) -> Result<Config> {
    for named in &kubeconfig.clusters {
        let proxy = named.cluster.as_ref().and_then(|c| c.proxy_url.as_deref());
        if proxy.is_some_and(|url| !url.is_empty()) {
            bail!(
                "cluster {} has a proxy-url, which is not supported",
                named.name
            );
        }
    }
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // Of the environment, then.
    config.proxy_url = None;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(proxy: &str) -> Kubeconfig {
        let text = format!(
            "{{clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:6443', proxy-url: '{proxy}'}}}}],\
             users: [{{name: u, user: {{}}}}], contexts: [{{name: x, context: {{cluster: c, user: u}}}}],\
             current-context: x}}"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[tokio::test]
    async fn a_proxy_of_the_kubeconfig_is_refused_by_its_name() {
        assert!(direct(kubeconfig("")).await.unwrap().proxy_url.is_none());
        let error = direct(kubeconfig("http://10.0.0.1:3128"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cluster c has a proxy-url, which is not supported"
        );
    }
}
