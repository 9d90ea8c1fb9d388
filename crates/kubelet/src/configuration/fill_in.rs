//! What files say of what a flag, or the cluster, may say as well.

use std::{net::IpAddr, path::Path};

use knarr_config::ConfigFile;

use super::{ConfigurationError, KubeletConfiguration};
use crate::{config::Config, sources::ManifestUrl};

/// Longest file of authorities, bytes: some hundred of them.
const MAX_CLIENT_CA_BYTES: u64 = 1 << 20;
/// Where resolvers are unless somebody says otherwise.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl KubeletConfiguration {
    /// Fills in what has not been said.
    pub(crate) fn fill_in(&self, config: &mut Config) -> Result<(), ConfigurationError> {
        let own = &self.settings;
        let invalid = |field: &str, why: String| {
            ConfigurationError::Invalid(format!("invalid configuration: {field}: {why}"))
        };
        if config.manifest_path.is_none() && !own.static_pod_path.as_os_str().is_empty() {
            config.manifest_path = Some(own.static_pod_path.clone());
        }
        if config.manifest_url.is_none() && !own.static_pod_url.is_empty() {
            let url = own.static_pod_url.parse::<ManifestUrl>();
            let mut url = url.map_err(|error| invalid("staticPodURL", error.to_string()))?;
            for (name, values) in &own.static_pod_url_header {
                for value in values {
                    let with = url.with_header(&format!("{name}: {value}"));
                    url = with.map_err(|error| invalid("staticPodURLHeader", error.to_string()))?;
                }
            }
            config.manifest_url = Some(url);
        }
        if config.allowed_unsafe_sysctls.is_empty() {
            config
                .allowed_unsafe_sysctls
                .clone_from(&own.allowed_unsafe_sysctls);
        }
        if config.resolv_conf == Path::new(RESOLV_CONF) {
            config.resolv_conf.clone_from(&own.resolv_conf);
        }
        if !own.cluster_dns.is_empty() {
            let addresses = own.cluster_dns.iter().map(|text| text.parse::<IpAddr>());
            config.cluster_dns = addresses
                .collect::<Result<_, _>>()
                .map_err(|error| invalid("clusterDNS", error.to_string()))?;
        }
        if !own.cluster_domain.is_empty() {
            config.cluster_domain.clone_from(&own.cluster_domain);
        }
        config.listen = own
            .address
            .parse()
            .map_err(|_| invalid("address", format!("{} is no IP address", own.address)))?;
        let authorities = &own.authentication.x509.client_ca_file;
        if !authorities.as_os_str().is_empty() {
            let text = ConfigFile::new(authorities, MAX_CLIENT_CA_BYTES).read();
            let text = text.map_err(|error| {
                let path = authorities.display();
                invalid(
                    "authentication.x509.clientCAFile",
                    format!("unable to load client CA file {path}: {error}"),
                )
            })?;
            config.client_ca_pem.push('\n');
            config
                .client_ca_pem
                .push_str(&String::from_utf8_lossy(&text));
        }
        Ok(())
    }
}
