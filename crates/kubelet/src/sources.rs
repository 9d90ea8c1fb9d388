//! Pods that come from elsewhere than the API: static pods, from manifests in a directory or at a URL.
//!
//! A source reads its manifests ([`manifest`]) and says all it has ([`Statics::set`]); what is wanted by any of them gets a worker as
//! a pod of the API does, whether or not there is an API. What the API shows of such a pod is its mirror ([`crate::mirror`]).
//!
//! A pod's uid is a hash of what is written, so that a changed manifest is another pod of the same name: the first one ends, with
//! its grace, and then the other starts. Of a pod that is on its way out and wanted again, as after a file was moved back, the same
//! is true.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

mod directory;
mod manifest;
mod seen;
mod statics;
mod url;
pub(crate) mod yaml;

pub(crate) use seen::Seen;
pub(crate) use statics::{Key, Statics, Step, Want, key};
pub use url::ManifestUrl;

/// Where a pod comes from: `file`, `http`; pods of the API do not bear it.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";
/// The pod's uid, so that a mirror tells whose it is: it has a uid of its own.
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
/// When this node first saw the pod.
pub(crate) const SEEN: &str = "kubernetes.io/config.seen";
/// Of a mirror: the hash of the pod that it shows.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Largest manifest, bytes; upstream's limit.
const MAX_MANIFEST_BYTES: u64 = 10 << 20;

/// The kinds of sources. Of two pods of one name that of the first is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    File,
    Http,
}

impl Source {
    /// As upstream's annotation has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Http => "http",
        }
    }
}

/// Where a manifest was read.
enum Origin {
    File(PathBuf),
    Http(String),
}

impl Origin {
    fn name(&self) -> &'static str {
        match self {
            Origin::File(_) => Source::File.name(),
            Origin::Http(_) => Source::Http.name(),
        }
    }

    fn place(&self) -> String {
        match self {
            Origin::File(path) => path.display().to_string(),
            Origin::Http(url) => url.clone(),
        }
    }
}

/// Whether a pod of the API is a mirror.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(MIRROR))
}

/// What a source calls with all pods it has.
type Deliver = Arc<dyn Fn(Vec<Pod>) + Send + Sync>;

/// Reads the configured sources until the token is cancelled; `deliver` is told all pods that a source has.
pub(crate) async fn run(
    config: Config,
    deliver: impl Fn(Source, Vec<Pod>) + Clone + Send + Sync + 'static,
    token: CancellationToken,
) {
    let of = |source: Source| -> Deliver {
        let deliver = deliver.clone();
        Arc::new(move |found| deliver(source, found))
    };
    let settings = &config.configuration.settings;
    let (of_files, of_urls) = (settings.file_check_frequency, settings.http_check_frequency);
    let files = async {
        if let Some(path) = config.manifest_path.clone() {
            directory::run(path, &config.node_name, of_files, of(Source::File)).await;
        }
    };
    let urls = async {
        if let Some(url) = &config.manifest_url {
            url::run(url, &config.node_name, of_urls, of(Source::Http)).await;
        }
    };
    let all = async { tokio::join!(files, urls) };
    token.run_until_cancelled(all).await;
    token.cancelled().await;
}
