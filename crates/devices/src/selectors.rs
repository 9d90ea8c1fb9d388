//! Selectors of devices, compiled once.

use std::{num::NonZeroUsize, sync::Arc};

use k8s_openapi::api::resource::v1::DeviceSelector;
use knarr_cel::{Program, devices};
use lru::LruCache;
use parking_lot::Mutex;

/// Expressions that are kept compiled.
const KEPT: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// A selector, or why it is none.
pub(crate) type Compiled = Arc<Result<Program, String>>;

/// The expressions that were used last.
pub struct Selectors {
    kept: Mutex<LruCache<String, Compiled>>,
}

impl Default for Selectors {
    fn default() -> Self {
        Self {
            kept: Mutex::new(LruCache::new(KEPT)),
        }
    }
}

impl Selectors {
    pub(crate) fn compile(&self, selector: &DeviceSelector) -> Compiled {
        let Some(cel) = &selector.cel else {
            let why = "CEL expression empty (unsupported selector type?)";
            return Arc::new(Err(why.to_owned()));
        };
        let source = &cel.expression;
        if let Some(kept) = self.kept.lock().get(source) {
            return kept.clone();
        }
        let compiled = Program::compile(source, devices::env());
        let compiled =
            compiled.map_err(|error| format!("CEL compile error: compilation failed: {error}"));
        let compiled = Arc::new(compiled);
        self.kept.lock().put(source.clone(), compiled.clone());
        compiled
    }
}
