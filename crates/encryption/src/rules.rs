//! Which chain is whose.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_config::ConfigFile;
use ring::digest::{SHA256, digest};

use crate::{
    ConfigError,
    chain::{Chain, Keys, Provider},
    ciphers::Kind,
    config::{
        self, EncryptionConfiguration, GroupResource, KeysConfiguration, ProviderConfiguration,
    },
    kms::{self, Kms},
    metrics::Metrics,
    own::{self, OwnKey},
    seal::Seals,
};

/// What is in force. Few: found by looking at each.
pub struct Rules {
    chains: Vec<(GroupResource, Chain)>,
    pub plugins: Vec<Arc<Kms>>,
    /// Of the file.
    pub hash: String,
}

/// What builds them.
struct Builder<'b> {
    seals: &'b Arc<Seals>,
    metrics: &'b Arc<Metrics>,
    plugins: Vec<Arc<Kms>>,
}

impl Rules {
    /// Without a configuration: the own keys write, unless everything is to stay plain.
    pub fn of_own(own: &[OwnKey], seals: &Seals, plain: bool) -> Rules {
        // Plain is also what was written before there was encryption.
        let mut providers = vec![Arc::new(Provider::Identity)];
        if let Some(keys) = own_keys(own, seals) {
            providers.insert(usize::from(plain), keys);
        }
        let mut chain = Chain::default();
        for provider in providers {
            chain.push(provider);
        }
        Rules {
            chains: vec![(secrets(), chain)],
            plugins: Vec::new(),
            hash: String::new(),
        }
    }

    /// The chain of a resource: its own, its group's, or that of all.
    pub fn find(&self, group: &str, resource: &str) -> Option<&Chain> {
        // Both names of Events are one resource in the store.
        let group = match (group, resource) {
            ("events.k8s.io", "events") => "",
            _ => group,
        };
        let named = |group: &str, resource: &str| {
            let found =
                |(one, _): &&(GroupResource, Chain)| one.group == group && one.resource == resource;
            self.chains.iter().find(found).map(|(_, chain)| chain)
        };
        named(group, resource)
            .or_else(|| named(group, "*"))
            .or_else(|| named("*", "*"))
    }
}

fn secrets() -> GroupResource {
    GroupResource::parse("secrets")
}

fn own_keys(own: &[OwnKey], seals: &Seals) -> Option<Arc<Provider>> {
    let keys = own.iter().map(|key| (own::NAME, key.bytes()));
    let keys = Keys::new(Kind::AesGcm, keys, seals)?;
    Some(Arc::new(Provider::Keys(keys)))
}

/// Those of a file. What the cluster's own keys have encrypted is read, too.
pub fn read(
    file: &ConfigFile,
    reload: bool,
    own: &[OwnKey],
    seals: &Arc<Seals>,
    metrics: &Arc<Metrics>,
) -> Result<Rules, ConfigError> {
    Ok(file.parse(|text| {
        let builder = Builder {
            seals,
            metrics,
            plugins: Vec::new(),
        };
        let mut rules = builder.build(&config::parse(text, reload)?)?;
        rules.hash = hash(text);
        rules.read_own(own, seals);
        Ok(rules)
    })?)
}

impl Rules {
    fn read_own(&mut self, own: &[OwnKey], seals: &Seals) {
        let Some(keys) = own_keys(own, seals) else {
            return;
        };
        let mut chain = self.find("", "secrets").cloned();
        if chain.is_none() {
            tracing::warn!(
                "the encryption provider configuration does not name secrets: they are stored unencrypted"
            );
        }
        let plain = || {
            let mut chain = Chain::default();
            chain.push(Arc::new(Provider::Identity));
            chain
        };
        let mut with_own = chain.take().unwrap_or_else(plain);
        with_own.push(keys);
        self.chains.retain(|(one, _)| *one != secrets());
        self.chains.push((secrets(), with_own));
    }
}

impl Builder<'_> {
    fn build(mut self, file: &EncryptionConfiguration) -> Result<Rules, String> {
        let mut chains = BTreeMap::<GroupResource, Chain>::new();
        for rule in &file.resources {
            let mut chain = Chain::default();
            for provider in &rule.providers {
                chain.push(Arc::new(self.provider(provider)?));
            }
            for resource in &rule.resources {
                // A resource that is named again gets further providers.
                let named = chains.entry(GroupResource::parse(resource)).or_default();
                named.extend(&chain);
            }
        }
        Ok(Rules {
            chains: chains.into_iter().collect(),
            plugins: self.plugins,
            hash: String::new(),
        })
    }

    fn provider(&mut self, provider: &ProviderConfiguration) -> Result<Provider, String> {
        let keyed = [
            (Kind::AesGcm, &provider.aesgcm),
            (Kind::AesCbc, &provider.aescbc),
            (Kind::Secretbox, &provider.secretbox),
        ];
        for (kind, keys) in keyed {
            if let Some(keys) = keys {
                return self.keys(kind, keys);
            }
        }
        let Some(kms) = &provider.kms else {
            return Ok(Provider::Identity);
        };
        let options = kms::Options {
            name: kms.name.clone(),
            endpoint: kms.endpoint.clone(),
            timeout: kms.timeout().ok_or("timeout should be a positive value")?,
        };
        let made = Kms::new(&options, self.seals.clone(), self.metrics.clone());
        let made = made.map_err(|error| {
            let name = &kms.name;
            format!("could not configure KMSv2-Plugin's probe {name:?}, error: {error}")
        })?;
        let made = Arc::new(made);
        self.plugins.push(made.clone());
        Ok(Provider::Kms(made))
    }

    fn keys(&self, kind: Kind, keys: &KeysConfiguration) -> Result<Provider, String> {
        let mut decoded = Vec::new();
        for key in &keys.keys {
            let secret = STANDARD.decode(&key.secret);
            let secret = secret
                .map_err(|_| format!("could not obtain secret for named key {}", key.name))?;
            decoded.push((&*key.name, secret));
        }
        let keys = decoded.iter().map(|(name, secret)| (*name, &**secret));
        let keys = Keys::new(kind, keys, self.seals);
        let keys = keys.ok_or_else(|| format!("{} provider has no valid keys", kind.name()))?;
        Ok(Provider::Keys(keys))
    }
}

fn hash(text: &[u8]) -> String {
    let mut out = String::from("sha256:");
    for byte in digest(&SHA256, text).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
