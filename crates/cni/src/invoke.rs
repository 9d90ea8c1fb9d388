//! The runtime's side of CNI: runs the plugins of a configuration list.

mod own;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Bandwidth,
    config::{self, NetworkConfigList},
    plugin::Call,
    result::{CniResult, PluginError},
    types::{NAME, PortMapping, ValidAttachment},
};

/// A plugin that has not answered by then is killed: a pod start must not hang on one.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The version of the protocol since which there is `GC`.
const GC_VERSION: &str = "1.1.0";
const CACHE_SUFFIX: &str = ".json";

/// Runtime values for plugins that declare the capability.
#[derive(Clone, Debug, Default)]
pub struct CapabilityArgs {
    pub port_mappings: Vec<PortMapping>,
    pub bandwidth: Option<Bandwidth>,
}

impl CapabilityArgs {
    fn runtime_config(&self, plugin: &Map<String, Value>) -> Option<Value> {
        let declared = plugin.get("capabilities")?;
        let has = |name: &str| declared.get(name).and_then(Value::as_bool) == Some(true);
        let mut told = Map::new();
        if has("portMappings") && !self.port_mappings.is_empty() {
            let mappings = serde_json::json!(self.port_mappings);
            told.insert("portMappings".to_owned(), mappings);
        }
        if let Some(bandwidth) = self.bandwidth.filter(|_| has("bandwidth")) {
            told.insert("bandwidth".to_owned(), serde_json::json!(bandwidth));
        }
        (!told.is_empty()).then_some(Value::Object(told))
    }
}

/// Why a network could not be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("CNI plugin {plugin:?} is in none of {dirs:?}")]
    NotFound { plugin: String, dirs: Vec<PathBuf> },
    #[error("cannot run CNI plugin {plugin:?}")]
    Run {
        plugin: String,
        #[source]
        source: io::Error,
    },
    #[error("CNI plugin {plugin:?} gave no answer within {}s", PLUGIN_TIMEOUT.as_secs())]
    Timeout { plugin: String },
    #[error("CNI plugin {plugin:?} failed: {error}")]
    Plugin { plugin: String, error: PluginError },
    #[error("CNI plugin {plugin:?} ended with {status} and no readable answer: {output:?}")]
    Answer {
        plugin: String,
        status: std::process::ExitStatus,
        output: String,
    },
    #[error("cannot keep the network result of {id} in {path}")]
    Cache {
        id: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether there is no network yet.
    pub fn is_unconfigured(&self) -> bool {
        match self {
            Self::Config(config::Error::None(_)) => true,
            Self::Config(config::Error::Read { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }
}

/// Runs the plugins of the first configuration list in a directory.
#[derive(Clone, Debug)]
pub struct Invoker {
    conf_dir: PathBuf,
    bin_dirs: Vec<PathBuf>,
    cache_dir: PathBuf,
}

/// One attachment of a sandbox.
struct Attachment<'a> {
    sandbox_id: &'a str,
    netns: Option<&'a Path>,
    ifname: &'a str,
    args: String,
}

impl Invoker {
    /// `cache_dir` holds the result and the configuration of each attachment, so that `del` undoes what `add` did even when
    /// the configuration has changed since.
    pub fn new(conf_dir: PathBuf, bin_dirs: Vec<PathBuf>, cache_dir: PathBuf) -> Self {
        Self {
            conf_dir,
            bin_dirs,
            cache_dir,
        }
    }

    /// Whether a network is configured: the CRI condition `NetworkReady`.
    pub fn status(&self) -> Result<(), Error> {
        let list = NetworkConfigList::load_first(&self.conf_dir)?;
        for plugin in &list.plugins {
            self.find(plugin_type(plugin))?;
        }
        Ok(())
    }

    /// Attaches a sandbox. `args` are passed as `CNI_ARGS` (`K8S_POD_NAME` and kin).
    pub async fn add(
        &self,
        sandbox_id: &str,
        netns: &Path,
        ifname: &str,
        args: &[(String, String)],
        capabilities: &CapabilityArgs,
    ) -> Result<CniResult, Error> {
        let list = NetworkConfigList::load_first(&self.conf_dir)?;
        let attachment = Attachment {
            sandbox_id,
            netns: Some(netns),
            ifname,
            args: join_args(args),
        };
        let cached = Cached {
            list: list.clone(),
            args: args.to_vec(),
            port_mappings: capabilities.port_mappings.clone(),
            bandwidth: capabilities.bandwidth,
            result: Value::Null,
        };
        // On disk before anything is made: a crash in between can be undone.
        self.store(sandbox_id, ifname, &cached).await?;
        let mut previous: Option<Value> = None;
        for plugin in &list.plugins {
            let stdin = plugin_config(&list, plugin, previous.as_ref(), capabilities);
            let output = self.run("ADD", plugin, &stdin, &attachment).await?;
            previous = Some(output);
        }
        let result = previous.unwrap_or_default();
        let parsed = serde_json::from_value(result.clone()).unwrap_or_default();
        self.store(sandbox_id, ifname, &Cached { result, ..cached })
            .await?;
        Ok(parsed)
    }

    /// Detaches a sandbox; what is not attached is no error. `netns` is absent when the namespace is gone.
    pub async fn del(
        &self,
        sandbox_id: &str,
        netns: Option<&Path>,
        ifname: &str,
    ) -> Result<(), Error> {
        let cached = match self.load(sandbox_id, ifname).await {
            Stored::Whole(cached) => cached,
            Stored::None => return Ok(()),
            // Torn by a power failure. Plugins know by the sandbox's id what they made.
            Stored::Torn => Cached {
                list: NetworkConfigList::load_first(&self.conf_dir)?,
                args: Vec::new(),
                port_mappings: Vec::new(),
                bandwidth: None,
                result: Value::Null,
            },
        };
        let attachment = Attachment {
            sandbox_id,
            netns,
            ifname,
            args: join_args(&cached.args),
        };
        let capabilities = CapabilityArgs {
            port_mappings: cached.port_mappings,
            bandwidth: cached.bandwidth,
        };
        let previous = (!cached.result.is_null()).then_some(&cached.result);
        for plugin in cached.list.plugins.iter().rev() {
            let stdin = plugin_config(&cached.list, plugin, previous, &capabilities);
            self.run("DEL", plugin, &stdin, &attachment).await?;
        }
        let path = self.cache_path(sandbox_id, ifname);
        match tokio::fs::remove_file(&path).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Cache {
                id: sandbox_id.to_owned(),
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Takes back what sandboxes have that are none of `valid`, as libcni's `GCNetworkList`: those whose attachment is still
    /// known are detached, then plugins that can are told what is in use. One that fails does not hold up the others; the first
    /// error is returned.
    pub async fn collect(&self, valid: &[ValidAttachment]) -> Result<(), Error> {
        let mut outcome = Ok(());
        for stale in self.attachments().await? {
            if !valid.contains(&stale) {
                let deleted = self.del(&stale.container_id, None, &stale.ifname).await;
                outcome = outcome.and(deleted);
            }
        }
        let list = NetworkConfigList::load_first(&self.conf_dir)?;
        for plugin in &list.plugins {
            // Ours could before the protocol had it: a list has the oldest version that all runtimes take.
            if list.cni_version != GC_VERSION && plugin_type(plugin) != NAME {
                continue;
            }
            let mut stdin = plugin_config(&list, plugin, None, &CapabilityArgs::default());
            stdin["cni.dev/valid-attachments"] = serde_json::json!(valid);
            let attachment = Attachment {
                sandbox_id: "",
                netns: None,
                ifname: "",
                args: String::new(),
            };
            let collected = self.run("GC", plugin, &stdin, &attachment).await;
            outcome = outcome.and(collected.map(drop));
        }
        outcome
    }

    /// Every attachment that is on disk.
    async fn attachments(&self) -> Result<Vec<ValidAttachment>, Error> {
        let error = |source| Error::Cache {
            id: "all sandboxes".to_owned(),
            path: self.cache_dir.clone(),
            source,
        };
        let mut files = match tokio::fs::read_dir(&self.cache_dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(error)?,
        };
        let mut found = Vec::new();
        while let Some(file) = files.next_entry().await.map_err(error)? {
            found.extend(attachment_of(&file.path()));
        }
        Ok(found)
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        // A type is a file name: never a path out of the directories.
        let safe = !plugin.is_empty() && !plugin.contains('/');
        self.bin_dirs
            .iter()
            .map(|dir| dir.join(plugin))
            .find(|path| safe && path.is_file())
            .ok_or_else(|| Error::NotFound {
                plugin: plugin.to_owned(),
                dirs: self.bin_dirs.clone(),
            })
    }

    async fn run(
        &self,
        command: &str,
        plugin: &Map<String, Value>,
        stdin: &Value,
        attachment: &Attachment<'_>,
    ) -> Result<Value, Error> {
        let name = plugin_type(plugin);
        let path = self.find(name)?;
        let run_error = |source| Error::Run {
            plugin: name.to_owned(),
            source,
        };
        let call = Call {
            command: command.to_owned(),
            container_id: attachment.sandbox_id.to_owned(),
            netns: attachment.netns.unwrap_or(Path::new("")).to_owned(),
            ifname: attachment.ifname.to_owned(),
            args: attachment.args.clone(),
        };
        if own::is_own(name, &path) {
            let answer = own::call(call, stdin.clone()).await.map_err(run_error)?;
            return answer.map_err(|error| Error::Plugin {
                plugin: name.to_owned(),
                error,
            });
        }
        let mut child = self.start(&path, &call).map_err(run_error)?;
        let input = stdin.to_string();
        let work = async {
            if let Some(mut pipe) = child.stdin.take() {
                // A plugin may end without reading its input: its answer decides.
                pipe.write_all(input.as_bytes()).await.ok();
            }
            child.wait_with_output().await
        };
        let output = timeout(PLUGIN_TIMEOUT, work)
            .await
            .map_err(|_| Error::Timeout {
                plugin: name.to_owned(),
            })?
            .map_err(run_error)?;
        if output.status.success() {
            if output.stdout.iter().all(u8::is_ascii_whitespace) {
                return Ok(Value::Null);
            }
            if let Ok(value) = serde_json::from_slice(&output.stdout) {
                return Ok(value);
            }
        } else if let Ok(error) = serde_json::from_slice::<PluginError>(&output.stdout) {
            return Err(Error::Plugin {
                plugin: name.to_owned(),
                error,
            });
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Answer {
            plugin: name.to_owned(),
            status: output.status,
            output: text,
        })
    }

    fn start(&self, program: &Path, call: &Call) -> io::Result<Child> {
        let cni_path = std::env::join_paths(&self.bin_dirs).unwrap_or_default();
        Command::new(program)
            .env("CNI_COMMAND", &call.command)
            .env("CNI_CONTAINERID", &call.container_id)
            .env("CNI_IFNAME", &call.ifname)
            .env("CNI_ARGS", &call.args)
            .env("CNI_PATH", cni_path)
            .env("CNI_NETNS", &call.netns)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn cache_path(&self, sandbox_id: &str, ifname: &str) -> PathBuf {
        self.cache_dir
            .join(format!("{sandbox_id}-{ifname}{CACHE_SUFFIX}"))
    }

    async fn store(&self, sandbox_id: &str, ifname: &str, cached: &Cached) -> Result<(), Error> {
        let path = self.cache_path(sandbox_id, ifname);
        let error = |source| Error::Cache {
            id: sandbox_id.to_owned(),
            path: path.clone(),
            source,
        };
        let bytes = serde_json::to_vec(cached).map_err(|e| error(e.into()))?;
        tokio::fs::create_dir_all(&self.cache_dir)
            .await
            .map_err(error)?;
        let temporary = path.with_extension("tmp");
        tokio::fs::write(&temporary, bytes).await.map_err(error)?;
        tokio::fs::rename(&temporary, &path).await.map_err(error)
    }

    async fn load(&self, sandbox_id: &str, ifname: &str) -> Stored {
        match tokio::fs::read(self.cache_path(sandbox_id, ifname)).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_or(Stored::Torn, Stored::Whole),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::None,
            Err(_) => Stored::Torn,
        }
    }
}

/// What is on disk of an attachment.
enum Stored {
    Whole(Cached),
    Torn,
    None,
}

#[derive(Serialize, serde::Deserialize)]
struct Cached {
    list: NetworkConfigList,
    args: Vec<(String, String)>,
    port_mappings: Vec<PortMapping>,
    /// Versions before had none.
    #[serde(default)]
    bandwidth: Option<Bandwidth>,
    result: Value,
}

/// Whose a file of the cache is. Ids have no dash.
fn attachment_of(path: &Path) -> Option<ValidAttachment> {
    let name = path.file_name()?.to_str()?.strip_suffix(CACHE_SUFFIX)?;
    let (container_id, ifname) = name.split_once('-')?;
    Some(ValidAttachment {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
    })
}

fn plugin_type(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or("")
}

fn join_args(args: &[(String, String)]) -> String {
    let pairs: Vec<_> = args.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(";")
}

/// What a plugin reads on its standard input: its own configuration with the list's name and version, the previous
/// plugin's result and the runtime's values.
fn plugin_config(
    list: &NetworkConfigList,
    plugin: &Map<String, Value>,
    previous: Option<&Value>,
    capabilities: &CapabilityArgs,
) -> Value {
    let mut config: BTreeMap<_, _> = plugin.clone().into_iter().collect();
    config.insert("name".to_owned(), list.name.clone().into());
    config.insert("cniVersion".to_owned(), list.cni_version.clone().into());
    if let Some(previous) = previous {
        config.insert("prevResult".to_owned(), previous.clone());
    }
    if let Some(runtime) = capabilities.runtime_config(plugin) {
        config.insert("runtimeConfig".to_owned(), runtime);
    }
    config.remove("capabilities");
    config.into_iter().collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests;
