//! Lines that anybody can measure again: a figure, and what it is set against.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Watch;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Print figures from a busy machine too, marked as such
    #[arg(long)]
    busy_ok: bool,
    /// Write the lines to this directory, as Markdown and JSON
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// Of the same thing done otherwise, in the same unit.
    against: Option<(String, f64)>,
}

#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    pub(crate) fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.push(what.into(), value, unit, None);
    }

    pub(crate) fn against(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        name: &str,
        other: f64,
    ) {
        self.push(what.into(), value, unit, Some((name.to_owned(), other)));
    }

    fn push(
        &mut self,
        what: String,
        value: f64,
        unit: &'static str,
        against: Option<(String, f64)>,
    ) {
        self.0.push(Figure {
            what,
            value,
            unit,
            against,
        });
    }

    fn markdown(&self) -> String {
        let mut text = "| | | set against | ratio |\n|---|---|---|---|\n".to_owned();
        for figure in &self.0 {
            let number = |value: f64| match value {
                value if value.abs() < 10.0 => format!("{value:.3}"),
                value if value.abs() < 1000.0 => format!("{value:.1}"),
                value => format!("{value:.0}"),
            };
            let (against, ratio) = match &figure.against {
                Some((name, other)) => (
                    format!("{} {} ({name})", number(*other), figure.unit),
                    format!("{:.2}", figure.value / other),
                ),
                None => (String::new(), String::new()),
            };
            let _ = writeln!(
                text,
                "| {} | {} {} | {against} | {ratio} |",
                figure.what,
                number(figure.value),
                figure.unit
            );
        }
        text
    }
}

/// Measures and prints; a machine that was busy meanwhile is said to be, or nothing is printed.
pub(crate) fn report(
    name: &str,
    title: &str,
    options: &Options,
    measure: impl FnOnce(&mut Figures) -> Result<()>,
) -> Result<()> {
    let watch = Watch::start()?;
    let mut figures = Figures::default();
    measure(&mut figures)?;
    let noise = watch.end()?;
    anyhow::ensure!(
        options.busy_ok || !noise.is_busy(),
        "the machine is busy: others took {:.0} %, the hypervisor {:.1} % (--busy-ok to see the figures nevertheless)",
        noise.others * 100.0,
        noise.steal * 100.0
    );
    let busy = if noise.is_busy() {
        "BUSY MACHINE, figures of no worth: "
    } else {
        ""
    };
    let text = format!("{busy}{title}\n\n{}", figures.markdown());
    println!("{text}");
    if let Some(dir) = &options.out {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(format!("{name}.md")), text)?;
        let json = serde_json::json!({ "title": title, "noise": noise, "figures": figures.0 });
        std::fs::write(
            dir.join(format!("{name}.json")),
            serde_json::to_string_pretty(&json)?,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_what_it_is_set_against() {
        let mut figures = Figures::default();
        figures.against("find", 2.0, "s", "ext4", 1.0);
        figures.add("memory", 12345.0, "MB");
        let text = figures.markdown();
        assert!(
            text.contains("| find | 2.000 s | 1.000 s (ext4) | 2.00 |"),
            "{text}"
        );
        assert!(text.contains("| memory | 12345 MB |  |  |"), "{text}");
    }
}
