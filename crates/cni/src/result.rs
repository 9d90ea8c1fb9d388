//! What a plugin answers: a result or an error.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The result of `ADD`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniResult {
    pub cni_version: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub dns: Value,
}

/// An interface the plugin made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Path of the network namespace; empty for the node's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address of an interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address and prefix length, as `10.42.0.5/32`.
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Index into [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route inside the namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    pub dst: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

impl CniResult {
    /// The addresses without their prefix lengths, in the plugin's order: the first is the pod's `status.podIP`.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.ips
            .iter()
            .filter_map(|ip| ip.address.split('/').next()?.parse().ok())
            .collect()
    }
}

/// The error a plugin prints. Codes below 100 are the specification's.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{msg} (code {code}){}", if details.is_empty() { String::new() } else { format!(": {details}") })]
pub struct PluginError {
    #[serde(default)]
    pub cni_version: String,
    pub code: u32,
    pub msg: String,
    #[serde(default)]
    pub details: String,
}

impl PluginError {
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    pub const INVALID_ENVIRONMENT: u32 = 4;
    pub const IO: u32 = 5;
    pub const DECODE: u32 = 6;
    pub const INVALID_CONFIG: u32 = 7;
    pub const TRY_AGAIN: u32 = 11;
    /// Ours: the pod subnet has no free address.
    pub const NO_ADDRESS: u32 = 100;
    /// Ours: the kernel refused a link, address, route or rule.
    pub const KERNEL: u32 = 101;

    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self {
            cni_version: crate::CNI_VERSION.to_owned(),
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
