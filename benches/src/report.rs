//! What was found, and the JSON of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    figures::{FIGURES, Figure},
    machine::Machine,
    rows::{Measured, Row},
};

/// One figure's numbers, in the figure's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub against: Option<f64>,
}

impl Cell {
    /// How many times our figure is the other cluster's.
    pub fn ratio(&self) -> Option<f64> {
        let (value, against) = (self.value?, self.against?);
        (against != 0.0).then_some(value / against)
    }
}

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    /// `knarr-bench 0.1.0`, `knarr v1.37.2`.
    pub versions: Vec<(String, String)>,
    pub protocol: &'static str,
    pub quick: bool,
    cells: BTreeMap<&'static str, Cell>,
    pub notes: Vec<String>,
    pub missing: Vec<String>,
}

impl Report {
    pub fn new(machine: Machine, protocol: &'static str, quick: bool) -> Self {
        Self {
            machine,
            versions: vec![("knarr-bench".into(), env!("CARGO_PKG_VERSION").into())],
            protocol,
            quick,
            cells: BTreeMap::new(),
            notes: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Takes over what a row found on the first cluster, or on the one it is compared with.
    pub fn add(&mut self, row: Row, label: &str, primary: bool, found: anyhow::Result<Measured>) {
        let measured = match found {
            Ok(measured) => measured,
            Err(error) => {
                self.missing
                    .push(format!("{label}, {}: {error:#}", name(row)));
                return;
            }
        };
        for (id, value) in measured.values {
            let cell = self.cells.entry(id).or_default();
            if primary {
                cell.value = Some(value);
            } else {
                cell.against = Some(value);
            }
        }
        for (id, limit) in measured.limits {
            self.cells.entry(id).or_default().limit = Some(limit);
        }
        self.notes.extend(
            measured
                .notes
                .into_iter()
                .map(|note| format!("{label}, {note}")),
        );
        self.missing.extend(
            measured
                .missing
                .into_iter()
                .map(|why| format!("{label}, {why}")),
        );
    }

    /// The figures that were measured, in the table's order.
    pub fn figures(&self) -> impl Iterator<Item = (&'static Figure, Cell)> {
        FIGURES
            .iter()
            .filter_map(|figure| Some((figure, *self.cells.get(figure.id)?)))
    }

    pub fn compared(&self) -> bool {
        self.cells.values().any(|cell| cell.against.is_some())
    }

    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures()
            .map(|(figure, cell)| {
                json!({
                    "id": figure.id,
                    "row": name(figure.row),
                    "what": figure.what.trim(),
                    "unit": figure.unit,
                    "value": cell.value,
                    "limit": cell.limit,
                    "budget": figure.budget,
                    "kept": cell.value.and_then(|value| figure.kept(value)),
                    "against": cell.against,
                    "ratio": cell.ratio(),
                })
            })
            .collect();
        let versions: BTreeMap<_, _> = self.versions.iter().cloned().collect();
        json!({
            "machine": self.machine,
            "versions": versions,
            "protocol": self.protocol,
            "quick": self.quick,
            "figures": figures,
            "notes": self.notes,
            "missing": self.missing,
        })
    }
}

/// As `--only` has it.
fn name(row: Row) -> String {
    use clap::ValueEnum;
    row.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}
