//! An owner that is named twice is one owner: upstream's `dedupOwnerReferencesAndAddWarning`.

use std::collections::HashSet;

use knarr_meta::object::str_at;
use serde_json::{Map, Value};

use super::{Write, metadata};

/// When it was noticed: upstream says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// By whoever looks at the request.
    Asked,
    /// After what changes objects had it.
    Admitted,
}

/// Removes the references that stand there already, and warns of them.
pub fn dedup(write: &Write<'_>, tree: &mut Value, when: When) {
    let uids = remove_repeated(metadata(tree));
    if uids.is_empty() {
        return;
    }
    let after = match when {
        When::Asked => "",
        When::Admitted => " after mutating admission happens",
    };
    write.warnings.add(format!(
        ".metadata.ownerReferences contains duplicate entries{after}; API server dedups owner references in 1.20+, and may reject \
         such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        uids.join(", ")
    ));
}

/// The uids of what was removed.
fn remove_repeated(metadata: &mut Map<String, Value>) -> Vec<String> {
    let mut repeated = Vec::new();
    let Some(references) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    else {
        return repeated;
    };
    // By their text: an object may have a great many.
    let mut seen = HashSet::new();
    references.retain(|reference| {
        let is_first = seen.insert(reference.to_string());
        if !is_first {
            repeated.push(str_at(reference, &["uid"]).to_owned());
        }
        is_first
    });
    repeated
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_there_twice_stands_there_once() {
        let reference = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
        let mut tree = json!({"metadata": {"ownerReferences": [
            reference("a", "1"), reference("b", "2"), reference("a", "1"), reference("c", "2"), reference("b", "2"),
        ]}});
        assert_eq!(remove_repeated(metadata(&mut tree)), ["1", "2"]);
        let left = json!([
            reference("a", "1"),
            reference("b", "2"),
            reference("c", "2")
        ]);
        assert_eq!(tree["metadata"]["ownerReferences"], left);
        assert!(remove_repeated(metadata(&mut tree)).is_empty());
        assert!(remove_repeated(metadata(&mut json!({}))).is_empty());
    }
}
