//! Who owns what: the entries of `metadata.managedFields`.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use knarr_meta::{field::quote, time};
use serde_json::{Map, Value, json};

use crate::set::Set;

/// Most entries of updates that an object keeps.
pub const MAX_UPDATE_MANAGERS: usize = 10;
/// Who owns what the oldest of them owned.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// What tells entries apart. Appliers are the same manager whatever version they apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity<'a> {
    pub manager: Cow<'a, str>,
    pub operation: Operation,
    /// Empty for appliers.
    pub version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    pub set: Set<'a>,
    /// The API version whose field names are in the set.
    pub version: Cow<'a, str>,
    /// RFC 3339.
    pub time: Option<Cow<'a, str>>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers<'a>(pub BTreeMap<Identity<'a>, Owned<'a>>);

/// As conflicts name a manager.
impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", quote(&self.subresource))?;
        }
        match self.operation {
            Operation::Update => write!(f, " using {}", self.version),
            Operation::Apply => Ok(()),
        }
    }
}

impl<'a> Managers<'a> {
    /// From `metadata.managedFields`; absent and null are empty. The error is upstream's.
    pub fn decode(entries: Option<&'a Value>) -> Result<Managers<'a>, String> {
        let entries = entries
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut managers = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let (identity, owned) = decode_entry(index, entry)?;
            managers.insert(identity, owned);
        }
        Ok(Managers(managers))
    }

    /// As `metadata.managedFields`. `None`: nobody owns anything.
    pub fn encode(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_cached_key(|(identity, owned)| {
            (
                identity.operation,
                owned.seconds(),
                identity.manager.clone(),
                owned.version.clone(),
                identity.subresource.clone(),
            )
        });
        Some(entries.into_iter().map(encode_entry).collect())
    }

    /// Merges the oldest updates of each version into one until no more than [`MAX_UPDATE_MANAGERS`] are left, or no two of a
    /// version.
    pub(crate) fn cap_updates(&mut self) {
        let mut updates: Vec<(i64, Identity<'a>)> = self
            .0
            .iter()
            .filter(|(identity, _)| identity.operation == Operation::Update)
            .map(|(identity, owned)| (owned.seconds(), identity.clone()))
            .collect();
        let mut count = updates.len();
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        updates.sort();
        let mut first: BTreeMap<Cow<'a, str>, Identity<'a>> = BTreeMap::new();
        for (_, identity) in updates {
            if count <= MAX_UPDATE_MANAGERS {
                return;
            }
            let Some(first) = first.get(&identity.version) else {
                first.insert(identity.version.clone(), identity);
                continue;
            };
            let bucket = Identity {
                manager: ANCIENT.into(),
                operation: Operation::Update,
                version: identity.version.clone(),
                subresource: "".into(),
            };
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if identity != bucket
                && let Some(owned) = self.0.remove(&identity)
                && let Some(there) = self.0.get_mut(&bucket)
            {
                there.set = owned.set.union(&there.set);
                there.time = owned.time;
            }
            count = count.saturating_sub(1);
        }
    }
}

impl Owned<'_> {
    /// When it changed last, in unix seconds.
    fn seconds(&self) -> i64 {
        let time = self.time.as_deref();
        time.and_then(time::parse_unix_seconds).unwrap_or(0)
    }
}

fn decode_entry(index: usize, entry: &Value) -> Result<(Identity<'_>, Owned<'_>), String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let version = text("apiVersion");
    if version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => {
            return Err(format!(
                "missing fieldsType in managed fields entry {index}"
            ));
        }
        other => {
            let other = quote(other);
            return Err(format!(
                "invalid fieldsType {other} in managed fields entry {index}"
            ));
        }
    }
    let set = Set::from_json(entry.get("fieldsV1").unwrap_or(&Value::Null)).map_err(|why| {
        format!("error decoding versioned set from {entry}: error decoding set: {why}")
    })?;
    let identity = Identity {
        manager: text("manager").into(),
        operation,
        version: match operation {
            Operation::Apply => "".into(),
            Operation::Update => version.into(),
        },
        subresource: text("subresource").into(),
    };
    let time = entry.get("time").and_then(Value::as_str);
    let owned = Owned {
        set,
        version: version.into(),
        time: time.map(Cow::Borrowed),
    };
    Ok((identity, owned))
}

fn encode_entry((identity, owned): (&Identity<'_>, &Owned<'_>)) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    if !identity.manager.is_empty() {
        put("manager", json!(identity.manager));
    }
    let operation = match identity.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    put("operation", json!(operation));
    put("apiVersion", json!(owned.version));
    if let Some(time) = &owned.time {
        put("time", json!(time));
    }
    put("fieldsType", json!("FieldsV1"));
    put("fieldsV1", owned.set.to_json());
    if !identity.subresource.is_empty() {
        put("subresource", json!(identity.subresource));
    }
    Value::Object(entry)
}
