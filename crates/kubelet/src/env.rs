//! A container's environment: literal values, references to ConfigMaps, Secrets, files and pod fields, and the variables
//! of the namespace's Services.
//!
//! [`make`] is pure over a [`Source`] that was filled beforehand, so that every rule is a table in the tests.
//! Order and precedence are upstream's: service variables come first and are only visible where nothing else sets
//! the name, then `envFrom`, then `env` from top to bottom, where `$(NAME)` sees what was set before it.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, FileKeySelector, Pod, Secret, Service,
};

use crate::downward;

pub(crate) mod expand;
mod file;
mod services;

pub(crate) use services::service_variables;

/// What the variables of one container are made from.
#[derive(Default)]
pub(crate) struct Source {
    /// ConfigMaps of the pod's namespace by name; absent ones are missing.
    pub config_maps: HashMap<String, std::sync::Arc<ConfigMap>>,
    /// Secrets of the pod's namespace by name; absent ones are missing.
    pub secrets: HashMap<String, std::sync::Arc<Secret>>,
    /// Services that may show up as variables (the pod's namespace and the API server's own).
    pub services: Vec<std::sync::Arc<Service>>,
    /// Files of the pod's volumes, by volume and path; absent ones are missing.
    pub files: HashMap<(String, String), Vec<u8>>,
    /// Values only the node knows.
    pub facts: downward::Facts,
}

/// Variables in order, and keys of `envFrom` sources that are no variable names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Name and value, sorted by nothing: the order they were declared in.
    pub variables: Vec<(String, String)>,
    /// `(source, keys)` as upstream's event tells them: `configMap ns/name`.
    pub skipped: Vec<Skipped>,
}

/// Keys of one source that cannot be environment variables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// `configMap` or `secret`.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
    /// The keys, sorted.
    pub keys: Vec<String>,
}

/// A required reference does not resolve; the container waits in CreateContainerConfigError with this message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyMissing {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("{0}")]
    Field(#[from] downward::Error),
    /// Nothing of what a container wrote is told.
    #[error("couldn't parse env file")]
    File,
    #[error("environment variable key {key:?} not found in file {path:?}")]
    FileKeyMissing { key: String, path: String },
}

/// Makes the environment of `container`.
pub(crate) fn make(
    pod: &Pod,
    container: &Container,
    source: &Source,
) -> Result<Environment, Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let spec = pod.spec.as_ref();
    let links = spec.and_then(|s| s.enable_service_links).unwrap_or(true);
    let service = service_variables(&source.services, namespace, links);
    let mut builder = Builder {
        pod,
        container,
        source,
        namespace,
        values: Ordered::default(),
    };
    let skipped = builder.env_from()?;
    for variable in container.env.iter().flatten() {
        let Some(value) = builder.value_of(variable, &service)? else {
            continue;
        };
        builder.values.set(&variable.name, value);
    }
    for (name, value) in service {
        builder.values.set_if_absent(&name, value);
    }
    Ok(Environment {
        variables: builder.values.list,
        skipped,
    })
}

struct Builder<'a> {
    pod: &'a Pod,
    container: &'a Container,
    source: &'a Source,
    namespace: &'a str,
    values: Ordered,
}

impl Builder<'_> {
    fn env_from(&mut self) -> Result<Vec<Skipped>, Error> {
        let mut skipped = Vec::new();
        for from in self.container.env_from.iter().flatten() {
            let prefix = from.prefix.as_deref().unwrap_or_default();
            let (kind, name, data) = if let Some(reference) = &from.config_map_ref {
                let optional = reference.optional.unwrap_or(false);
                match self.source.config_maps.get(&reference.name) {
                    Some(map) => (
                        "configMap",
                        &reference.name,
                        map.data.clone().unwrap_or_default(),
                    ),
                    None if optional => continue,
                    None => return Err(missing("configmap", &reference.name)),
                }
            } else if let Some(reference) = &from.secret_ref {
                let optional = reference.optional.unwrap_or(false);
                match self.source.secrets.get(&reference.name) {
                    Some(secret) => ("secret", &reference.name, secret_text(secret)),
                    None if optional => continue,
                    None => return Err(missing("secret", &reference.name)),
                }
            } else {
                continue;
            };
            let mut bad = Vec::new();
            for (key, value) in data {
                let key = format!("{prefix}{key}");
                if is_variable_name(&key) {
                    self.values.set(&key, value);
                } else {
                    bad.push(key);
                }
            }
            if !bad.is_empty() {
                bad.sort();
                skipped.push(Skipped {
                    kind,
                    name: name.clone(),
                    keys: bad,
                });
            }
        }
        Ok(skipped)
    }

    /// `None`: an optional reference that does not resolve sets nothing.
    fn value_of(
        &self,
        variable: &EnvVar,
        service: &BTreeMap<String, String>,
    ) -> Result<Option<String>, Error> {
        if let Some(value) = variable.value.as_deref().filter(|v| !v.is_empty()) {
            let look = |name: &str| {
                self.values
                    .get(name)
                    .or_else(|| service.get(name).map(String::as_str))
            };
            return Ok(Some(expand::expand(value, look)));
        }
        let Some(from) = &variable.value_from else {
            return Ok(Some(String::new()));
        };
        if let Some(field) = &from.field_ref {
            let facts = &self.source.facts;
            return Ok(Some(downward::field(self.pod, &field.field_path, facts)?));
        }
        if let Some(field) = &from.resource_field_ref {
            let facts = &self.source.facts;
            return Ok(Some(downward::resource(
                self.pod,
                self.container,
                field,
                facts,
            )?));
        }
        if let Some(key) = &from.config_map_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(map) = self.source.config_maps.get(&key.name) else {
                return if optional {
                    Ok(None)
                } else {
                    Err(missing("configmap", &key.name))
                };
            };
            let value = map.data.as_ref().and_then(|d| d.get(&key.key)).cloned();
            return self.key("ConfigMap", &key.name, &key.key, value, optional);
        }
        if let Some(key) = &from.secret_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(secret) = self.source.secrets.get(&key.name) else {
                return if optional {
                    Ok(None)
                } else {
                    Err(missing("secret", &key.name))
                };
            };
            let value = secret.data.as_ref().and_then(|d| d.get(&key.key));
            let value = value.map(|v| String::from_utf8_lossy(&v.0).into_owned());
            return self.key("Secret", &key.name, &key.key, value, optional);
        }
        if let Some(key) = &from.file_key_ref {
            return self.of_file(key);
        }
        Ok(Some(String::new()))
    }

    fn of_file(&self, key: &FileKeySelector) -> Result<Option<String>, Error> {
        let optional = key.optional.unwrap_or(false);
        let file = (key.volume_name.clone(), key.path.clone());
        let bytes = match self.source.files.get(&file) {
            Some(bytes) => bytes,
            None if optional => return Ok(None),
            None => return Err(Error::File),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| Error::File)?;
        match file::value(text, &key.key) {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) if optional => Ok(None),
            Ok(None) => Err(Error::FileKeyMissing {
                key: key.key.clone(),
                path: key.path.clone(),
            }),
            Err(_) => Err(Error::File),
        }
    }

    fn key(
        &self,
        kind: &'static str,
        name: &str,
        key: &str,
        value: Option<String>,
        optional: bool,
    ) -> Result<Option<String>, Error> {
        match value {
            Some(value) => Ok(Some(value)),
            None if optional => Ok(None),
            None => Err(Error::KeyMissing {
                kind,
                namespace: self.namespace.to_owned(),
                name: name.to_owned(),
                key: key.to_owned(),
            }),
        }
    }
}

fn missing(kind: &'static str, name: &str) -> Error {
    Error::ObjectMissing {
        kind,
        name: name.to_owned(),
    }
}

fn secret_text(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(k, v)| (k.clone(), String::from_utf8_lossy(&v.0).into_owned()))
        .collect()
}

/// Upstream's relaxed rule (the only one since 1.30): printable ASCII without `=`, and not empty.
pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

#[derive(Default)]
struct Ordered {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Ordered {
    fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|&i| self.list[i].1.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(&at) = self.index.get(name) {
            self.list[at].1 = value;
        } else {
            self.index.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), value));
        }
    }

    fn set_if_absent(&mut self, name: &str, value: String) {
        if !self.index.contains_key(name) {
            self.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
