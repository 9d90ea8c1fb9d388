//! One output of the configuration, and who it stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use knarr_meta::quantity::Quantity;
use serde::Deserialize;

use super::{Receiver, elasticsearch, file, fluent, http, loki, otlp};

const DEFAULT_FILE_BYTES: &str = "100Mi";
const DEFAULT_INDEX: &str = "knarr";
const DEFAULT_TAG: &str = "kubernetes";

/// One output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Output {
    /// A DNS label, which messages and figures have.
    pub name: String,
    fluent_forward: Option<Fluent>,
    otlp: Option<Http>,
    loki: Option<Loki>,
    elasticsearch: Option<Elasticsearch>,
    file: Option<Log>,
    #[serde(default)]
    pub namespaces: BTreeSet<String>,
    #[serde(default)]
    pub exclude_namespaces: BTreeSet<String>,
    pub label_selector: Option<String>,
    pub annotation_selector: Option<String>,
    pub pod_lines_per_second: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fluent {
    address: String,
    tag: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Http {
    endpoint: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Loki {
    endpoint: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    ca_file: Option<PathBuf>,
    tenant: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Elasticsearch {
    endpoint: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    ca_file: Option<PathBuf>,
    index: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Log {
    path: PathBuf,
    max_bytes: Option<String>,
}

impl Output {
    /// Who takes its batches.
    pub(crate) fn receiver(&self) -> Result<Box<dyn Receiver>, String> {
        let kinds = [
            self.fluent_forward.is_some(),
            self.otlp.is_some(),
            self.loki.is_some(),
            self.elasticsearch.is_some(),
            self.file.is_some(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            let one =
                "exactly one of fluentForward, otlp, loki, elasticsearch and file has to be given";
            return Err(one.to_owned());
        }
        if let Some(fluent) = &self.fluent_forward {
            let tag = fluent.tag.as_deref().unwrap_or(DEFAULT_TAG);
            return Ok(Box::new(fluent::Fluent::new(&fluent.address, tag)?));
        }
        if let Some(otlp) = &self.otlp {
            let client = http::Client::new(
                &otlp.endpoint,
                "v1/logs",
                &otlp.headers,
                otlp.ca_file.as_deref(),
            )?;
            return Ok(Box::new(otlp::Otlp(client)));
        }
        if let Some(loki) = &self.loki {
            let mut headers = loki.headers.clone();
            headers.extend(
                loki.tenant
                    .iter()
                    .map(|t| ("x-scope-orgid".to_owned(), t.clone())),
            );
            let client = http::Client::new(
                &loki.endpoint,
                "loki/api/v1/push",
                &headers,
                loki.ca_file.as_deref(),
            )?;
            return Ok(Box::new(loki::Loki(client)));
        }
        if let Some(elastic) = &self.elasticsearch {
            let client = http::Client::new(
                &elastic.endpoint,
                "_bulk",
                &elastic.headers,
                elastic.ca_file.as_deref(),
            )?;
            let index = elastic
                .index
                .clone()
                .unwrap_or_else(|| DEFAULT_INDEX.to_owned());
            return Ok(Box::new(elasticsearch::Elasticsearch::new(client, index)));
        }
        let Some(log) = &self.file else {
            return Err("nothing takes its lines".to_owned());
        };
        if !log.path.is_absolute() {
            return Err("file.path has to begin at the root".to_owned());
        }
        let text = log.max_bytes.as_deref().unwrap_or(DEFAULT_FILE_BYTES);
        let bytes = Quantity::parse(text).map_err(|error| format!("file.maxBytes: {error}"))?;
        let bytes = u64::try_from(bytes.value()).ok().filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or("file.maxBytes has to be more than nothing")?;
        Ok(Box::new(file::Log::new(log.path.clone(), bytes)))
    }
}
