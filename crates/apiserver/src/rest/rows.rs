//! Rows of a Table, of stored objects.

use std::{convert::Infallible, sync::Arc};

use bytes::{BufMut, BytesMut};
use knarr_api::{Served, now::Now};
use knarr_registry::cache::{cells::Cells, entry::Entry, kept::Kept};
use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::negotiate::MetaVersion;

/// About what a row's cells take.
const CELLS_BYTES: usize = 512;

/// Writes rows of stored objects that carry their metadata: [`super::shape::row`] in JSON, but that metadata is neither parsed nor written anew, and
/// cells are made once for as long as they stay true.
pub struct RowWriter {
    kept: Arc<Kept<Cells>>,
    served: Served,
    version: MetaVersion,
    seconds: i64,
    /// Columns of other kinds come and go with their definitions.
    keeps: bool,
}

impl RowWriter {
    pub fn new(kept: Arc<Kept<Cells>>, served: Served, version: MetaVersion) -> RowWriter {
        RowWriter {
            kept,
            keeps: served.kind.is_built_in() && served.is_stored(),
            served,
            version,
            seconds: jiff::Timestamp::now().as_second(),
        }
    }

    /// Appends the row of an object.
    pub fn write(&self, out: &mut BytesMut, entry: &Entry) {
        if self.keeps {
            let (seconds, make) = (self.seconds, || Ok::<_, Infallible>(self.cells(entry)));
            let is_true = |cells: &Cells| (cells.since..cells.until).contains(&seconds);
            let Ok(cells) = self.kept.of(&entry.cells, is_true, make);
            out.put_slice(&cells.json);
        } else {
            out.put_slice(&self.cells(entry).json);
        }
        entry.write_partial(out, entry.revision, self.version.api_version());
        out.put_u8(b'}');
    }

    fn cells(&self, entry: &Entry) -> Cells {
        let now = Now::new(self.seconds);
        let mut stored = tree(&self.served, entry);
        self.served.kind.from_stored(&mut stored);
        let strategy = &*self.served.kind.strategy;
        let mut out = BytesMut::with_capacity(CELLS_BYTES);
        out.put_slice(b"{\"cells\":");
        put(&mut out, &Value::Array(strategy.cells(&stored, &now)));
        if let Some(conditions) = strategy.row_conditions(&stored) {
            out.put_slice(b",\"conditions\":");
            put(&mut out, &conditions);
        }
        out.put_slice(b",\"object\":");
        Cells {
            json: Box::from(&out[..]),
            since: self.seconds,
            until: now.until(),
        }
    }
}

fn put(out: &mut BytesMut, value: &Value) {
    // Writing JSON trees into memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), value);
}

/// Parses the state for its cells.
pub fn tree(served: &Served, entry: &Entry) -> Value {
    // Columns of other kinds are paths, to whatever there is.
    if !served.kind.is_built_in() {
        return entry.tree();
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&entry.json);
    let shown = served.kind.strategy.shown();
    let mut tree = shown.deserialize(&mut deserializer).unwrap_or_default();
    if entry.revision > 0
        && let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let version = Value::from(entry.revision.to_string());
        meta.insert("resourceVersion".to_owned(), version);
    }
    tree
}

#[cfg(test)]
mod tests {
    use knarr_registry::cache::entry::encode;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_but_managed_fields_is_there() {
        let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
        let served = Served::stored(kind.clone());
        let mut object = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "immutable": true,
            "metadata": {
                "name": "c", "namespace": "n", "labels": {"managedFields": "x"}, "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {"f:metadata": {}}}}],
            },
            "data": {"managedFields": "y", "metadata": "{\"managedFields\":1}"},
        });
        for revision in [0, 7] {
            let entry =
                Entry::new(kind, "n/c".into(), revision, encode(&object)).expect("an object");
            let mut wanted = entry.tree();
            let metadata = wanted["metadata"].as_object_mut().expect("metadata");
            assert!(metadata.remove("managedFields").is_some());
            assert_eq!(tree(&served, &entry), wanted);
        }
        object["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove("managedFields");
        let entry = Entry::new(kind, "n/c".into(), 7, encode(&object)).expect("an object");
        assert_eq!(tree(&served, &entry), entry.tree());
    }

    /// Rows that are kept say what rows say that are made anew, whenever they are asked for.
    #[test]
    fn kept_rows_stay_true() {
        const CREATED: i64 = 1_767_323_045;
        let kind = knarr_api::built_in("", "v1", "pods").expect("a core kind");
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "namespace": "n", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Succeeded", "containerStatuses": [{
                "name": "c", "restartCount": 1,
                "lastState": {"terminated": {"finishedAt": "2026-01-02T03:06:00Z"}},
            }]},
        });
        let entry = Entry::new(kind, "n/p".into(), 7, encode(&pod)).expect("an object");
        let shared: Arc<Kept<Cells>> = Arc::default();
        let row = |kept: &Arc<Kept<Cells>>, seconds| {
            let served = Served::stored(kind.clone());
            let mut writer = RowWriter::new(kept.clone(), served, MetaVersion::V1);
            writer.seconds = CREATED + seconds;
            let mut out = BytesMut::new();
            writer.write(&mut out, &entry);
            serde_json::from_slice::<Value>(&out).expect("a row")
        };
        for seconds in [
            200, 200, 201, 199, 3_600, 3_601, 3_659, 3_660, 40_000, 43_199, 100,
        ] {
            let fresh = row(&Arc::default(), seconds);
            assert_eq!(row(&shared, seconds), fresh, "{seconds}");
            assert_eq!(fresh["object"]["metadata"]["resourceVersion"], "7");
        }
        let row = row(&shared, 3_600);
        assert_eq!(
            (&row["cells"][3], &row["cells"][4]),
            (&json!("1 (58m ago)"), &json!("60m"))
        );
        assert_eq!(row["conditions"][0]["type"], "Completed");
    }
}
