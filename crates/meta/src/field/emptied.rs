//! Lists and maps that a request's object has with nothing in them.
//!
//! Upstream validates what it has decoded, where such a one is no nil, and shows it in errors as `[]` or `{}`. Trees are validated
//! without them, as they are stored: what is remembered here is what an error shows.
//!
//! Where it finds out who owns what, upstream compares a list that is one value by the memory of both sides: one that is empty in an
//! item is not one that is missing there, and a quantity is not what is read back of it once it was stored. Such places are
//! remembered with what the request has there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use super::Error;

/// Most that are remembered of a request: more than an object has that anybody would read the errors of.
pub const MAX_REMEMBERED: usize = 1 << 10;

/// What is empty of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    List,
    Map,
}

impl Collection {
    /// What `value` is, where it is a collection without elements.
    pub fn empty(value: &Value) -> Option<Self> {
        match value {
            Value::Array(list) if list.is_empty() => Some(Self::List),
            Value::Object(map) if map.is_empty() => Some(Self::Map),
            _ => None,
        }
    }

    /// As JSON.
    pub fn shown(self) -> Value {
        match self {
            Self::List => json!([]),
            Self::Map => json!({}),
        }
    }
}

/// A place in a list whose value Go has in another form than what is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// RFC 6901.
    pub pointer: String,
    /// What the request has there; `None`: nothing, where what is stored has something.
    pub asked: Option<Value>,
}

/// Those of one request.
#[derive(Debug, Default)]
pub struct Emptied {
    /// By their paths as errors show them.
    shown: Mutex<BTreeMap<String, Collection>>,
    forms: Mutex<Vec<Form>>,
}

impl Emptied {
    /// Remembers what was dropped of an object.
    pub fn add(&self, dropped: Vec<(String, Collection)>) {
        let mut all = self.all();
        let room = MAX_REMEMBERED.saturating_sub(all.len());
        all.extend(dropped.into_iter().take(room));
    }

    /// Remembers the forms of the object that was read last: a patch is computed anew where another writer was in the way.
    pub fn set_forms(&self, mut forms: Vec<Form>) {
        forms.truncate(MAX_REMEMBERED);
        *self.forms.lock().unwrap_or_else(PoisonError::into_inner) = forms;
    }

    pub fn forms(&self) -> Vec<Form> {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.clone()
    }

    /// Gives errors that show a field's value, of a field that was dropped, what it was.
    pub fn show_in(&self, errors: &mut [Error]) {
        let all = self.all();
        if all.is_empty() {
            return;
        }
        for error in errors.iter_mut().filter(|error| !error.is_fixed) {
            if let Some(value) = error.bad_value.as_mut().filter(|value| value.is_null())
                && let Some(collection) = all.get(&error.field)
            {
                *value = collection.shown();
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Collection>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn errors_show_what_was_empty() {
        let emptied = Emptied::default();
        let spec = Path::new("spec");
        let error =
            |field: &'static str, value: Value| Error::invalid(&spec.child(field), value, "bad");
        let asked = || {
            vec![
                error("list", Value::Null),
                error("map", Value::Null),
                error("absent", Value::Null),
                error("other", json!([])),
                Error::required(&spec.child("list"), ""),
                Error::invalid_nil(&spec.child("list"), "bad"),
            ]
        };
        let mut errors = asked();
        emptied.show_in(&mut errors);
        assert_eq!(errors, asked());
        emptied.add(vec![
            ("spec.list".to_owned(), Collection::List),
            ("spec.map".to_owned(), Collection::Map),
        ]);
        emptied.show_in(&mut errors);
        let shown: Vec<String> = errors.iter().map(Error::to_string).collect();
        assert_eq!(
            shown,
            [
                "spec.list: Invalid value: []: bad",
                "spec.map: Invalid value: {}: bad",
                "spec.absent: Invalid value: null: bad",
                "spec.other: Invalid value: []: bad",
                "spec.list: Required value",
                "spec.list: Invalid value: null: bad",
            ]
        );
    }

    #[test]
    fn no_more_is_remembered_than_anybody_reads() {
        let emptied = Emptied::default();
        let many = |from: usize| {
            (from..from + MAX_REMEMBERED)
                .map(|n| (n.to_string(), Collection::List))
                .collect()
        };
        emptied.add(many(0));
        emptied.add(many(MAX_REMEMBERED));
        assert_eq!(emptied.all().len(), MAX_REMEMBERED);
    }
}
