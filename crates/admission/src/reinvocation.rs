//! The second round of the mutating phase: who has mutated an object may have to see what others made of it since.
//!
//! As upstream's `reinvocationContext`: a plugin that changes an object asks for a second round of the whole phase; in that round
//! what is called by configuration (webhooks, policies) runs again only where it asked for that (`IfNeeded`) and something has
//! changed since. There is no third round.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the mutating phase of one write remembers.
#[derive(Debug, Default)]
pub struct Reinvocation {
    is_again: bool,
    wanted: bool,
    plugins: BTreeMap<&'static str, Invoked>,
}

/// What a plugin has called.
#[derive(Debug, Default)]
pub struct Invoked {
    /// The object as the plugin left it.
    output: Option<Value>,
    /// To be called again once the object changes.
    called: BTreeSet<String>,
    /// To be called again in the second round.
    due: BTreeSet<String>,
}

impl Reinvocation {
    /// Whether this is the second round.
    pub fn is_again(&self) -> bool {
        self.is_again
    }

    /// A plugin changed the object: those called before it may want to see it.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Begins the second round, where somebody wants it and this is the first.
    pub fn begin_again(&mut self) -> bool {
        if self.is_again || !self.wanted {
            return false;
        }
        self.is_again = true;
        true
    }

    /// What the plugin of a name has called.
    pub fn of(&mut self, plugin: &'static str) -> &mut Invoked {
        self.plugins.entry(plugin).or_default()
    }

    /// A plugin begins its round with this object. In the second: everything is due where others have changed the object since.
    pub fn enter(&mut self, plugin: &'static str, object: Option<&Value>) {
        let again = self.is_again;
        let invoked = self.of(plugin);
        if again && invoked.output.as_ref() != object {
            invoked.changed();
        }
    }

    /// A plugin ends its round with this object.
    pub fn leave(&mut self, plugin: &'static str, object: Option<&Value>) {
        // Nobody compares it after the second.
        if !self.is_again && !self.of(plugin).called.is_empty() {
            self.of(plugin).output = object.cloned();
        }
    }
}

impl Invoked {
    /// The object has changed: what was called before is due.
    pub fn changed(&mut self) {
        self.due.append(&mut self.called);
    }

    /// What was called wants to be called again once the object changes.
    pub fn called(&mut self, id: &str) {
        self.called.insert(id.to_owned());
    }

    /// Whether the second round calls this.
    pub fn is_due(&self, id: &str) -> bool {
        self.due.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_called_before_a_change_is_due_in_the_second_round() {
        let mut reinvocation = Reinvocation::default();
        let before = json!({"a": 1});
        reinvocation.enter("P", Some(&before));
        reinvocation.of("P").called("first");
        reinvocation.of("P").changed();
        reinvocation.of("P").called("second");
        reinvocation.leave("P", Some(&before));
        assert!(!reinvocation.begin_again(), "nobody wants it");
        reinvocation.want();
        assert!(reinvocation.begin_again());
        reinvocation.enter("P", Some(&before));
        assert!(reinvocation.of("P").is_due("first"));
        assert!(
            !reinvocation.of("P").is_due("second"),
            "nothing changed after it"
        );
        assert!(!reinvocation.of("P").is_due("third"));
        assert!(!reinvocation.begin_again(), "there is no third round");
    }

    #[test]
    fn what_others_change_makes_everything_due() {
        let mut reinvocation = Reinvocation::default();
        reinvocation.of("P").called("one");
        reinvocation.leave("P", Some(&json!({"a": 1})));
        reinvocation.want();
        assert!(reinvocation.begin_again());
        reinvocation.enter("P", Some(&json!({"a": 2})));
        assert!(reinvocation.of("P").is_due("one"));
    }
}
