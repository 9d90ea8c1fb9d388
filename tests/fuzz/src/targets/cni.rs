//! What comes from CNI plugins and whoever configures them: network configurations, results and errors, subnets and names of
//! instances. What was understood is written as what is understood as the same.

use std::fs;
use std::path::PathBuf;

use knarr_cni::plugin::ipam::Subnet;
use knarr_cni::result::PluginError;
use knarr_cni::{CniResult, InstanceId, NetworkConfigList};
use serde_json::Value;

use crate::shape;

use super::{Target, scratch, texts};

pub struct Cni {
    dir: tempfile::TempDir,
}

impl Cni {
    pub fn new() -> Self {
        let dir = scratch();
        Self { dir }
    }

    fn load(&self, bytes: &[u8]) -> Result<NetworkConfigList, String> {
        let path: PathBuf = self.dir.path().join("a.conflist");
        fs::write(&path, bytes).expect("a file");
        NetworkConfigList::load(&path).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        })
    }

    fn configuration(&self, input: &[u8]) -> Result<u64, String> {
        let list = match self.load(input) {
            Ok(list) => list,
            Err(error) => return Ok(shape::of(&error)),
        };
        let typed = |plugin: &serde_json::Map<String, Value>| {
            plugin.get("type").is_some_and(Value::is_string)
        };
        if !list.plugins.iter().all(typed) {
            return Err("a plugin has no type".to_owned());
        }
        let text = serde_json::to_string(&list).map_err(|error| error.to_string())?;
        let again = self
            .load(text.as_bytes())
            .map_err(|error| format!("{text} does not read: {error}"))?;
        let same = again.name == list.name
            && again.cni_version == list.cni_version
            && again.plugins == list.plugins;
        match same {
            true => Ok(shape::of_data(&text)),
            false => Err(format!("{list:?} is written {text}")),
        }
    }
}

fn result(input: &[u8]) -> Result<u64, String> {
    let result: CniResult = match serde_json::from_slice(input) {
        Ok(result) => result,
        Err(error) => return Ok(shape::of(&error.to_string())),
    };
    let addresses = result.addresses();
    if addresses.len() > result.ips.len() {
        return Err(format!("{result:?} has {addresses:?}"));
    }
    let text = serde_json::to_string(&result).map_err(|error| error.to_string())?;
    let again: CniResult =
        serde_json::from_str(&text).map_err(|error| format!("{text} does not read: {error}"))?;
    match format!("{again:?}") == format!("{result:?}") {
        true => Ok(shape::exact(format!(
            "{} {} {}",
            addresses.len().min(4),
            result.routes.len().min(4),
            result.interfaces.len().min(4)
        ))),
        false => Err(format!("{result:?} is written {text}")),
    }
}

fn error(input: &[u8]) -> Result<u64, String> {
    let error: PluginError = match serde_json::from_slice(input) {
        Ok(error) => error,
        Err(error) => return Ok(shape::of(&error.to_string())),
    };
    let shown = error.to_string();
    match shown.contains(&format!("code {}", error.code)) {
        true => Ok(shape::of(&shown)),
        false => Err(format!("{shown:?} has no code")),
    }
}

impl Target for Cni {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            r#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"knarr-cni","subnet":"10.42.0.0/24","capabilities":{"portMappings":true}},{"type":"loopback"}]}"#,
            r#"{"name":"b","type":"bridge","ipam":{"type":"host-local"}}"#,
            r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"aa:bb","sandbox":"/run/netns/x"}],"ips":[{"address":"10.42.0.5/32","gateway":"169.254.1.1","interface":0},{"address":"fd00::1/128"}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}],"dns":{"nameservers":["1.1.1.1"]}}"#,
            r#"{"cniVersion":"1.0.0","code":11,"msg":"try again","details":"d"}"#,
            "10.42.0.0/24",
            "k7c2xmpa",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\"plugins\":",
            "\"type\":\"x\"",
            "\"name\":",
            "\"cniVersion\":",
            "\"ips\":[{\"address\":\"10.0.0.1/8\"}]",
            "\"interface\":",
            "\"gateway\":\"::1\"",
            "\"code\":",
            "\"msg\":\"m\"",
            "/32",
            "/8",
            "/-1",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let text = String::from_utf8_lossy(input);
        let mut seen = self.configuration(input)? ^ result(input)?.rotate_left(1);
        seen ^= error(input)?.rotate_left(2);
        if let Err(error) = text.parse::<Subnet>() {
            seen ^= shape::of(&error).rotate_left(3);
        }
        match text.parse::<InstanceId>() {
            Ok(id) if id.to_string() != text => Err(format!("{text:?} is the instance {id}")),
            Ok(_) => Ok(seen ^ 1),
            Err(_) => Ok(seen),
        }
    }
}
