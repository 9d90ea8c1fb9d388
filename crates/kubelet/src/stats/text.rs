//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use super::Histogram;

/// A family's type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A document that is being written.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, help: &str, kind: Type) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ok = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample, with the time at which it was taken, nanoseconds since 1970; 0 is none.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: i64) {
        self.0.push_str(name);
        for (number, (label, value)) in labels.iter().enumerate() {
            self.0.push(if number == 0 { '{' } else { ',' });
            let _ok = write!(self.0, "{label}=\"");
            self.escape(value);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ok = write!(self.0, " {value}");
        if at != 0 {
            let _ok = write!(self.0, " {}", at / 1_000_000);
        }
        self.0.push('\n');
    }

    /// The samples of a histogram.
    pub(crate) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<N>,
    ) {
        let bucket = format!("{name}_bucket");
        let all = (f64::INFINITY, histogram.count());
        for (bound, count) in histogram.buckets().chain([all]) {
            let bound = match bound.is_finite() {
                true => bound.to_string(),
                false => "+Inf".to_owned(),
            };
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&bucket, &labels, count as f64, 0);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum(), 0);
        let count = histogram.count() as f64;
        self.sample(&format!("{name}_count"), labels, count, 0);
    }

    fn escape(&mut self, value: &str) {
        for char in value.chars() {
            match char {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                char => self.0.push(char),
            }
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_labels_and_times() {
        let mut text = Text::default();
        text.family("a_total", "What a is.", Type::Counter);
        text.sample("a_total", &[], 1.5, 0);
        text.sample(
            "a_total",
            &[("x", "1"), ("y", "\"\\\n")],
            3e9,
            1_700_000_000_123_456_789,
        );
        let wanted = "\
# HELP a_total What a is.
# TYPE a_total counter
a_total 1.5
a_total{x=\"1\",y=\"\\\"\\\\\\n\"} 3000000000 1700000000123
";
        assert_eq!(text.finish(), wanted);
    }
}
