//! Selectors of devices: each text is compiled once, and asked about a device once.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use k8s_openapi::api::resource::v1::DeviceSelector;
use knarr_cel::{Program, devices};
use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    allocator::Error,
    answers::{Answer, Answers},
    budget::Budget,
    inventory::{Device, Slice},
};

/// Expressions that are kept compiled: those of two pods that have as many as they may.
const KEPT: NonZeroUsize = match NonZeroUsize::new(512) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// A selector, or why it is none.
pub(crate) struct Selector {
    /// Of no other expression.
    id: u64,
    /// Of its text, bytes.
    pub length: usize,
    program: Result<Program, String>,
    answers: Arc<Answers>,
}

/// Why a selector says nothing of a device.
pub(crate) enum Silence {
    /// It is none.
    Invalid(String),
    /// It cannot be evaluated for the device.
    Failed(Arc<str>),
    OutOfTime,
}

impl Selector {
    /// What tells it from others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it matches a device.
    pub fn matches(
        &self,
        slice: &Slice,
        device: &Device,
        budget: &Budget,
    ) -> Result<bool, Silence> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Err(Silence::Invalid(why.clone())),
        };
        let known = slice.version.as_ref();
        let known = known.and_then(|slice| self.answers.get(self.id, slice, device.place));
        if let Some(answer) = known {
            return answer.map_err(Silence::Failed);
        }
        budget.look().map_err(|_| Silence::OutOfTime)?;
        let answer = devices::matches(program, &slice.seen(device));
        let answer: Answer = answer.map_err(|error| error.to_string().into());
        if let Some(version) = &slice.version {
            let place = (device.place, slice.devices.len());
            self.answers.put(self.id, version, place, &answer);
        }
        answer.map_err(Silence::Failed)
    }
}

/// The expressions that were used last, and what they said.
pub struct Selectors {
    kept: Mutex<LruCache<String, Arc<Selector>>>,
    next: AtomicU64,
    answers: Arc<Answers>,
}

impl Default for Selectors {
    fn default() -> Self {
        Self {
            kept: Mutex::new(LruCache::new(KEPT)),
            next: AtomicU64::new(0),
            answers: Arc::default(),
        }
    }
}

impl Selectors {
    /// # Errors
    /// [`Error::Timeout`] where it has to be compiled, and there is no time.
    pub(crate) fn compile(
        &self,
        selector: &DeviceSelector,
        budget: &Budget,
    ) -> Result<Arc<Selector>, Error> {
        let Some(cel) = &selector.cel else {
            let why = "CEL expression empty (unsupported selector type?)";
            return Ok(self.selector(0, Err(why.to_owned())));
        };
        let source = &cel.expression;
        if let Some(kept) = self.kept.lock().get(source) {
            return Ok(kept.clone());
        }
        budget.look()?;
        let compiled = Program::compile(source, devices::env());
        let compiled =
            compiled.map_err(|error| format!("CEL compile error: compilation failed: {error}"));
        let compiled = self.selector(source.len(), compiled);
        self.kept.lock().put(source.clone(), compiled.clone());
        Ok(compiled)
    }

    fn selector(&self, length: usize, program: Result<Program, String>) -> Arc<Selector> {
        Arc::new(Selector {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            length,
            program,
            answers: self.answers.clone(),
        })
    }
}
