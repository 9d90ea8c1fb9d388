//! Which lines an output gets.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use knarr_meta::labels::Selector;

use super::output::Output;
use crate::record::{Owned, Source};

/// Pods whose lines are counted at a time; with more, counting begins anew.
const MAX_PODS: usize = 4_096;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Lines of one output.
#[derive(Debug, Default)]
pub struct Filter {
    namespaces: BTreeSet<String>,
    excluded: BTreeSet<String>,
    labels: Option<Selector>,
    annotations: Option<Selector>,
    rate: Option<u32>,
    /// What was said of the last line's source.
    last: Option<(Arc<Source>, bool)>,
    /// The second of a pod's last line, by the line's own time, and the lines in it: what is sent late is not too much.
    lines: HashMap<String, (i64, u32)>,
    limited: u64,
}

impl Filter {
    /// # Errors
    /// What is no selector.
    pub fn new(output: &Output) -> Result<Self, String> {
        let parse = |what: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(Selector::parse).transpose();
            parsed.map_err(|error| format!("{what}: {error}"))
        };
        Ok(Self {
            namespaces: output.namespaces.clone(),
            excluded: output.exclude_namespaces.clone(),
            labels: parse("labelSelector", &output.label_selector)?,
            annotations: parse("annotationSelector", &output.annotation_selector)?,
            rate: output.pod_lines_per_second,
            ..Self::default()
        })
    }

    /// Whether the output gets a line.
    pub fn takes(&mut self, record: &Owned) -> bool {
        let is_wanted = match &self.last {
            Some((source, is_wanted)) if Arc::ptr_eq(source, &record.source) => *is_wanted,
            _ => {
                let is_wanted = self.wants(&record.source);
                self.last = Some((record.source.clone(), is_wanted));
                is_wanted
            }
        };
        is_wanted && self.is_within_rate(record)
    }

    fn wants(&self, source: &Source) -> bool {
        let namespace = &source.namespace;
        (self.namespaces.is_empty() || self.namespaces.contains(namespace))
            && !self.excluded.contains(namespace)
            && self
                .labels
                .as_ref()
                .is_none_or(|s| s.matches(&source.labels))
            && self
                .annotations
                .as_ref()
                .is_none_or(|s| s.matches(&source.annotations))
    }

    fn is_within_rate(&mut self, record: &Owned) -> bool {
        let Some(rate) = self.rate else {
            return true;
        };
        let second = record.time.div_euclid(NANOS_PER_SECOND);
        if !self.lines.contains_key(&record.source.uid) {
            if self.lines.len() >= MAX_PODS {
                self.lines.clear();
            }
            self.lines.insert(record.source.uid.clone(), (second, 0));
        }
        let Some((last, lines)) = self.lines.get_mut(&record.source.uid) else {
            return true;
        };
        if second > *last {
            (*last, *lines) = (second, 0);
        }
        *lines = lines.saturating_add(1);
        let is_within = *lines <= rate;
        self.limited += u64::from(!is_within);
        is_within
    }

    /// Lines that were more than a pod may have, since this was asked.
    pub fn take_limited(&mut self) -> u64 {
        std::mem::take(&mut self.limited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{forward::config::Forwarding, record::Stream};

    fn record(namespace: &str, app: &str, logs: &str, time: i64) -> Owned {
        Owned {
            source: Arc::new(Source {
                namespace: namespace.to_owned(),
                uid: namespace.to_owned(),
                labels: [("app".to_owned(), app.to_owned())].into(),
                annotations: [("logs".to_owned(), logs.to_owned())].into(),
                ..Source::default()
            }),
            stream: Stream::Stdout,
            time,
            text: Vec::new(),
        }
    }

    fn filter(rest: &str) -> Filter {
        let text = format!("outputs: [{{name: a, file: {{path: /x}}, {rest}}}]");
        Filter::new(&Forwarding::parse(&text).unwrap().outputs[0]).unwrap()
    }

    #[test]
    fn lines_are_taken_by_namespace_label_and_annotation() {
        for (rest, wanted) in [
            ("", [true, true, true]),
            ("namespaces: [shop]", [true, false, true]),
            ("excludeNamespaces: [shop]", [false, true, false]),
            ("labelSelector: app=web", [true, true, false]),
            ("annotationSelector: logs!=none", [true, false, true]),
            (
                "namespaces: [shop], labelSelector: app!=web",
                [false, false, true],
            ),
        ] {
            let mut filter = filter(rest);
            let lines = [
                ("shop", "web", "all"),
                ("bank", "web", "none"),
                ("shop", "db", "all"),
            ];
            let taken = lines.map(|(n, app, logs)| filter.takes(&record(n, app, logs, 0)));
            assert_eq!(taken, wanted, "{rest}");
        }
    }

    #[test]
    fn a_pod_has_so_many_lines_a_second_of_its_own_time() {
        let mut filter = filter("podLinesPerSecond: 2");
        let times = [
            0,
            1,
            2,
            999_999_999,
            1_000_000_000,
            5,
            1_000_000_001,
            9_000_000_000,
        ];
        let taken = times.map(|time| filter.takes(&record("a", "", "", time)));
        assert_eq!(taken, [true, true, false, false, true, true, false, true]);
        assert!(filter.takes(&record("b", "", "", 0)));
        assert_eq!((filter.take_limited(), filter.take_limited()), (3, 0));
    }
}
