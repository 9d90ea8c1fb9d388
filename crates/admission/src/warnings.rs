//! What a write has to say beside its answer.

use std::borrow::Cow;

use parking_lot::Mutex;

/// Most texts of a request: as many as an answer has characters for.
const MAX_TEXTS: usize = 4 << 10;

/// Texts for `Warning: 299` headers, collected while a request is handled.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<Cow<'static, str>>>);

impl Warnings {
    pub fn add(&self, text: impl Into<Cow<'static, str>>) {
        let text = text.into();
        let mut all = self.0.lock();
        if all.len() < MAX_TEXTS && !all.contains(&text) {
            all.push(text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub fn take(&self) -> Vec<Cow<'static, str>> {
        std::mem::take(&mut self.0.lock())
    }
}
