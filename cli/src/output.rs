//! What goes to stdout: lines for people and their scripts, or one JSON document.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::Error;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Output {
    pub quiet: bool,
    pub json: bool,
}

impl Output {
    /// A line of narration: neither in JSON nor when quiet.
    pub(crate) fn line(&self, text: &str) -> Result<(), Error> {
        if self.quiet || self.json {
            return Ok(());
        }
        print(text)
    }

    /// The one line that is still wanted when quiet.
    pub(crate) fn result(&self, text: &str) -> Result<(), Error> {
        if self.json {
            return Ok(());
        }
        print(text)
    }

    /// The document, where JSON is wanted.
    pub(crate) fn document<T: Serialize>(&self, document: &T) -> Result<(), Error> {
        if !self.json {
            return Ok(());
        }
        pretty(document)
    }

    /// Rows under a heading: as such, as JSON, or when quiet the keys alone.
    pub(crate) fn listing<T: Serialize>(
        &self,
        heading: &[&str],
        rows: &[Row<T>],
    ) -> Result<(), Error> {
        if self.json {
            let records: Vec<_> = rows.iter().map(|row| &row.record).collect();
            return pretty(&records);
        }
        if self.quiet {
            let mut seen = std::collections::HashSet::new();
            let keys = rows.iter().filter_map(|row| row.cells.first());
            return keys
                .filter(|key| seen.insert(key.as_str()))
                .try_for_each(|key| print(key));
        }
        let heading: Vec<_> = heading.iter().map(|cell| (*cell).to_owned()).collect();
        let mut lines = vec![heading];
        lines.extend(rows.iter().map(|row| row.cells.clone()));
        table(&lines).iter().try_for_each(|line| print(line))
    }
}

/// One record of a listing, and how it is shown.
pub(crate) struct Row<T> {
    pub record: T,
    pub cells: Vec<String>,
}

pub(crate) fn pretty<T: Serialize>(document: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(document).map_err(Error::json("result"))?;
    print(&text)
}

/// Whoever reads may have seen enough: a closed pipe is no failure.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    raw(format!("{text}\n").as_bytes())
}

pub(crate) fn raw(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::file("standard output")(error))
        }
        _ => Ok(()),
    }
}

/// Columns four apart.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count() + 4;
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
