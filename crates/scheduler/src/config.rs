//! How pods are scheduled: what a `KubeSchedulerConfiguration` says (`kubescheduler.config.k8s.io/v1`), with upstream's defaults.
//!
//! ```text
//! file -> strict decoding -> plugin sets (the default ones, merged with those of the file) -> Profile: plugins in order, weights, arguments
//!                              `-> validation as upstream's; what nothing here honours is refused too
//! ```

pub mod args;
pub mod extenders;
mod file;
pub mod points;
mod sets;
mod strict;
mod validation;

use std::{
    fs, io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use knarr_meta::field::{self, Error as FieldError, ErrorList, Path};
use serde_json::Value;

use args::Args;
use extenders::Extender;
use file::KubeSchedulerConfiguration;
use points::Point;
use sets::Enabled;

use crate::metrics::Metrics;

/// Most bytes of a configuration.
const FILE_BYTES: u64 = 1 << 20;
const DEFAULT_NAME: &str = "default-scheduler";

/// How the scheduler works.
#[derive(Clone, Debug)]
pub struct Config {
    /// A pod is scheduled by the profile that it names in `spec.schedulerName`; others are not ours. Never empty.
    pub profiles: Vec<Profile>,
    /// How long a pod waits after its first failure, and at most (upstream's podInitialBackoffSeconds and
    /// podMaxBackoffSeconds).
    pub backoff: Backoff,
    pub extenders: Vec<Extender>,
    /// What is counted, for whoever shows it.
    pub metrics: Arc<Metrics>,
}

/// How long a pod waits that could not be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

impl Backoff {
    /// How long a pod waits that has failed so often.
    pub fn after(self, attempts: u32) -> Duration {
        let factor = 1_u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.initial.saturating_mul(factor).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
        }
    }
}

/// How the pods of a scheduler's name are scheduled.
#[derive(Clone, Debug)]
pub struct Profile {
    pub scheduler_name: String,
    /// Of 100 nodes, how many that fit are enough; 0: fewer in large clusters.
    pub percentage_of_nodes_to_score: usize,
    /// In their order.
    pub pre_filters: Vec<&'static str>,
    pub filters: Vec<&'static str>,
    /// With their weights.
    pub scores: Vec<(&'static str, i64)>,
    /// Whether others are ended for a pod that fits nowhere.
    pub preempts: bool,
    pub args: Args,
}

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    Invalid { path: PathBuf, why: String },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::default()],
            backoff: Backoff::default(),
            extenders: Vec::new(),
            metrics: Arc::default(),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        let mut none = ErrorList::new();
        let (enabled, scores) = sets::resolve(&file::Plugins::default(), &Path::root(), &mut none);
        Self::new(DEFAULT_NAME, 0, enabled, scores, Args::default())
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is of another form, or asks for what is not done here.
    pub fn read(path: &FilePath) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let invalid = |why| ConfigError::Invalid {
            path: path.to_owned(),
            why,
        };
        if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES {
            return Err(invalid(format!("more than {FILE_BYTES} bytes")));
        }
        let text = fs::read(path).map_err(unreadable)?;
        Self::parse(&text).map_err(invalid)
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it, with the path of each field, in upstream's words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let tree: Value = serde_saphyr::from_slice(text).map_err(|error| error.to_string())?;
        let said = |name: &str| tree.get(name).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (said("apiVersion"), said("kind"));
        if version != file::VERSION || kind != file::KIND {
            return Err(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"{}\"",
                file::VERSION
            ));
        }
        let mut file: KubeSchedulerConfiguration = strict::decode(&tree).map_err(strictly)?;
        if file.profiles.is_empty() {
            file.profiles.push(file::Profile::default());
        }
        if let [only] = file.profiles.as_mut_slice() {
            only.scheduler_name
                .get_or_insert_with(|| DEFAULT_NAME.to_owned());
        }
        let args = decode_args(&file).map_err(strictly)?;
        let mut errors = ErrorList::new();
        let config = build(&file, args, &mut errors);
        match errors.is_empty() {
            true => Ok(config),
            false => Err(field::aggregate(&errors)),
        }
    }
}

fn strictly(errors: Vec<String>) -> String {
    format!("strict decoding error: {}", errors.join(", "))
}

/// The arguments of each profile's plugins.
fn decode_args(file: &KubeSchedulerConfiguration) -> Result<Vec<Args>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut all = Vec::with_capacity(file.profiles.len());
    for (profile, from) in file.profiles.iter().enumerate() {
        let mut args = Args::default();
        for (index, config) in from.plugin_config.iter().enumerate() {
            if !args::WITH_ARGS.contains(&config.name.as_str()) {
                continue;
            }
            if let Err(errors) = args.set(&config.name, config.args.as_ref()) {
                let at = format!("decoding .profiles[{profile}].pluginConfig[{index}]");
                wrong.extend(errors.into_iter().map(|error| format!("{at}: {error}")));
            }
        }
        args.set_defaults();
        all.push(args);
    }
    match wrong.is_empty() {
        true => Ok(all),
        false => Err(wrong),
    }
}

fn build(file: &KubeSchedulerConfiguration, args: Vec<Args>, errors: &mut ErrorList) -> Config {
    validation::settings(file, errors);
    let path = Path::new("profiles");
    let mut profiles: Vec<Profile> = Vec::with_capacity(file.profiles.len());
    for (index, (from, args)) in file.profiles.iter().zip(args).enumerate() {
        let path = path.index(index);
        let profile = profile(from, args, file, &path, errors);
        let name = &profile.scheduler_name;
        let before = profiles.iter().position(|p| p.scheduler_name == *name);
        if let Some(before) = before {
            let other = Path::new("profiles").index(before).child("schedulerName");
            let path = path.child("schedulerName");
            errors.push(FieldError::duplicate(&path, other.to_string()));
        }
        profiles.push(profile);
    }
    let (extenders, ignored) = extenders::read(&file.extenders, &Path::new("extenders"), errors);
    for profile in &mut profiles {
        profile
            .args
            .fit
            .ignored_resources
            .extend_from_slice(&ignored);
    }
    let seconds = |value: Option<i64>, default: u64| {
        let seconds = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(seconds.unwrap_or(default))
    };
    Config {
        profiles,
        backoff: Backoff {
            initial: seconds(file.pod_initial_backoff_seconds, 1),
            max: seconds(file.pod_max_backoff_seconds, 10),
        },
        extenders,
        metrics: Arc::default(),
    }
}

fn profile(
    from: &file::Profile,
    args: Args,
    file: &KubeSchedulerConfiguration,
    path: &Path,
    errors: &mut ErrorList,
) -> Profile {
    let name = from.scheduler_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("schedulerName"), ""));
    }
    let own = from.percentage_of_nodes_to_score;
    validation::percentage(&path.child("percentageOfNodesToScore"), own, errors);
    let percentage = own.or(file.percentage_of_nodes_to_score).unwrap_or(0);
    check_plugin_config(from, &args, &path.child("pluginConfig"), errors);
    let plugins = path.child("plugins");
    let before = errors.len();
    let (enabled, scores) = sets::resolve(&from.plugins, &plugins, errors);
    if errors.len() == before {
        sets::check_together(&enabled, &plugins, errors);
    }
    let percentage = percentage.try_into().unwrap_or(0);
    Profile::new(name, percentage, enabled, scores, args)
}

fn check_plugin_config(from: &file::Profile, args: &Args, path: &Path, errors: &mut ErrorList) {
    for (index, config) in from.plugin_config.iter().enumerate() {
        let path = path.index(index);
        let name = config.name.as_str();
        let mut before = from.plugin_config.iter().take(index);
        if before.any(|other| other.name == name) {
            errors.push(FieldError::duplicate(&path, name));
        } else if let Some(why) = sets::removed(name) {
            errors.push(FieldError::invalid(&path, name, why));
        } else if args::WITH_ARGS.contains(&name) {
            validation::args(name, args, &path.child("args"), errors);
        } else {
            let path = path.child("name");
            errors.push(FieldError::not_supported(&path, name, &args::WITH_ARGS));
        }
    }
}

impl Profile {
    fn new(
        name: &str,
        percentage_of_nodes_to_score: usize,
        mut enabled: Enabled,
        scores: Vec<(&'static str, i64)>,
        args: Args,
    ) -> Self {
        let mut at = |point| enabled.remove(&point).unwrap_or_default();
        Self {
            scheduler_name: name.to_owned(),
            percentage_of_nodes_to_score,
            pre_filters: at(Point::PreFilter),
            filters: at(Point::Filter),
            scores,
            preempts: at(Point::PostFilter).contains(&"DefaultPreemption"),
            args,
        }
    }
}

#[cfg(test)]
mod tests;
