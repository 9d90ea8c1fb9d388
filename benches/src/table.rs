//! The table as people read it: GitHub's Markdown, aligned, so that it can be pasted into a page.

use crate::{figures::Better, report::Report, stats::number};

#[cfg(test)]
mod tests;

/// The whole page: machine, table, notes, what is missing.
pub fn render(report: &Report) -> String {
    let versions: Vec<String> = report
        .versions
        .iter()
        .map(|(what, version)| format!("{what} {version}"))
        .collect();
    let mut page = format!(
        "{}\n{}, {}{}\n\n",
        report.machine.line(),
        versions.join(", "),
        report.protocol,
        if report.quick {
            ", quick: not for comparing"
        } else {
            ""
        }
    );
    page += &align(&rows(report));
    for (title, lines) in [("Notes", &report.notes), ("Not measured", &report.missing)] {
        if !lines.is_empty() {
            page += &format!("\n{title}:\n");
            for line in lines {
                page += &format!("- {line}\n");
            }
        }
    }
    page
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let compared = report.compared();
    let mut header = vec!["what", "knarr", "limit", "budget", ""];
    if compared {
        header.extend(["against", "ratio"]);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for (figure, cell) in report.figures() {
        let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
        let with_unit = |value: Option<f64>| match value {
            Some(value) if figure.unit == "/s" => format!("{}/s", number(value)),
            Some(value) => format!("{} {}", number(value), figure.unit),
            None => "-".to_owned(),
        };
        let sign = match figure.better {
            Better::Lower => "<",
            Better::Higher => ">",
        };
        let budget = figure
            .budget
            .map(|b| format!("{sign} {}", number(b)))
            .unwrap_or_default();
        let verdict = match cell.value.and_then(|value| figure.kept(value)) {
            Some(true) => "ok",
            Some(false) => "MISS",
            None => "",
        };
        let what = figure.what.replacen("  ", "- ", 1);
        let mut row = vec![
            what,
            with_unit(cell.value),
            shown(cell.limit),
            budget,
            verdict.to_owned(),
        ];
        if compared {
            row.push(shown(cell.against));
            row.push(
                cell.ratio()
                    .map(|r| format!("x{}", number(r)))
                    .unwrap_or_default(),
            );
        }
        rows.push(row);
    }
    rows
}

/// Pads the columns: the first to the left, the others to the right. The first row is the header.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text += &if column == 0 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            };
        }
        text += "|\n";
        if i == 0 {
            for (column, width) in widths.iter().enumerate() {
                text += &if column == 0 {
                    format!("| {} ", "-".repeat(*width))
                } else {
                    format!("| {}: ", "-".repeat(width - 1))
                };
            }
            text += "|\n";
        }
    }
    text
}
