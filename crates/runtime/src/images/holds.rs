//! Layers that stay although no image has them yet: of pulls and imports that are under way.

use std::collections::HashMap;

use parking_lot::Mutex;

/// How many hold each layer, by its name.
#[derive(Default)]
pub struct Holds(Mutex<HashMap<String, usize>>);

/// Holds layers until it is dropped.
#[must_use]
pub struct Held<'a> {
    holds: &'a Holds,
    names: Vec<String>,
}

impl Holds {
    pub fn take(&self, names: Vec<String>) -> Held<'_> {
        let mut counts = self.0.lock();
        for name in &names {
            let count = counts.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
        }
        Held { holds: self, names }
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut counts = self.holds.0.lock();
        for name in &self.names {
            if let Some(count) = counts.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(name);
                }
            }
        }
    }
}
