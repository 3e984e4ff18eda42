//! Trials made into a table.

use std::fmt::Write;
use std::time::Duration;

use crate::cold_start::Trial;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) image: String,
    pub(crate) mode: String,
    pub(crate) median: Trial,
}

/// Of each figure by itself. `trials` is not empty.
pub(crate) fn median(trials: &[Trial]) -> Trial {
    fn middle<T: Ord + Copy + Default>(values: impl Iterator<Item = T>) -> T {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    }
    Trial {
        pull: middle(trials.iter().map(|trial| trial.pull)),
        first_line: middle(trials.iter().map(|trial| trial.first_line)),
        bytes: middle(trials.iter().map(|trial| trial.bytes)),
        memory: middle(trials.iter().map(|trial| trial.memory)),
    }
}

/// Each lazy start is set against the normal pull of the same image.
pub(crate) fn table(title: &str, rows: &[Row]) -> String {
    let mut text = format!("{title}\n\n");
    let _ = writeln!(
        text,
        "{:<10} {:<12} {:>8} {:>12} {:>12} {:>8} {:>8}",
        "image", "", "pull", "first line", "over link", "times", "memory"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<10} {:<12} {:>6.1} s {:>10.1} s {:>9.1} MB {:>7.1}x {:>8}",
            row.image,
            row.mode,
            row.median.pull.as_secs_f64(),
            row.median.first_line.as_secs_f64(),
            megabytes(row.median.bytes),
            ratio(normal(rows, row), row.median.first_line),
            row.median.memory.map_or_else(
                || "-".to_owned(),
                |bytes| format!("{:.0} MB", megabytes(bytes))
            ),
        );
    }
    text
}

fn normal(rows: &[Row], row: &Row) -> Duration {
    rows.iter()
        .find(|other| other.image == row.image)
        .map_or(row.median.first_line, |first| first.median.first_line)
}

fn ratio(normal: Duration, this: Duration) -> f64 {
    normal.as_secs_f64() / this.as_secs_f64()
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
