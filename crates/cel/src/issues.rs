//! Errors of a source with their place, as cel-go prints them.

use cel::{ParseErrors, common::ast::SourceInfo};

/// Something is wrong with the expression of this number.
#[derive(Debug)]
pub struct Issue {
    pub id: u64,
    pub message: String,
}

pub fn of_parser(source: &str, errors: &ParseErrors) -> String {
    let lines = errors.errors.iter().map(|error| {
        let (line, column) = error.pos;
        let message = match error.msg.starts_with("Syntax error") {
            true => error.msg.clone(),
            false => format!("Syntax error: {}", error.msg),
        };
        let message = expecting_the_end(&message);
        if source.is_empty() {
            // cel-go has no line to show.
            return format!("ERROR: <input>:1:0: {message}");
        }
        line_of(
            source,
            usize::try_from(line).unwrap_or(1),
            usize::try_from(column).unwrap_or(1),
            &message,
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What could stand there beside the end: cel-go leaves the rule's loops before it looks, and then only the end is left.
fn expecting_the_end(message: &str) -> String {
    match message.split_once("expecting {<EOF>, ") {
        Some((before, _)) => format!("{before}expecting <EOF>"),
        None => message.to_owned(),
    }
}

pub fn of_checker(source: &str, positions: &SourceInfo, issues: &[Issue]) -> String {
    let lines = issues.iter().map(|issue| {
        let (start, _) = positions.offset_for(issue.id).unwrap_or_default();
        let before: String = source.chars().take(start as usize).collect();
        // Both count from one.
        let line = before.split('\n').count();
        let last = before.rsplit('\n').next();
        let column = last.map_or(0, |text| text.chars().count());
        let column = column.saturating_add(1);
        line_of(source, line, column, &issue.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn line_of(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let dots = ".".repeat(column.saturating_sub(1));
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {dots}^")
}
