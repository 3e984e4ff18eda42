//! The cells as Markdown.

use std::fmt::Write as _;

use super::cell::Cell;
use crate::stats::Spread;

const HEAD: &str = "\
| image | link | | pull s | run s | **total s** (min–max) | of overlayfs | of the bound | MB to the line | requests | connections | CPU s | peak MB | warm s | all there: MB, s |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

pub(crate) fn markdown(cells: &[Cell]) -> String {
    let mut text = HEAD.to_owned();
    for cell in cells {
        let total = cell.total;
        let complete = cell.complete.as_ref().map_or_else(
            || "–".to_owned(),
            |(bytes, seconds)| format!("{:.0}, {:.1}", mega(*bytes), seconds.median),
        );
        let normal = normal(cells, cell).map(|normal| total.median / normal);
        let bound = cell.bound.map(|bound| total.median / bound.total);
        let (cpu, memory) = match cell.mode.as_str() {
            // containerd is what works there.
            "overlayfs" => (cell.containerd_cpu, "–".to_owned()),
            _ => (cell.cpu, format!("{:.0}", mega(cell.memory))),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | **{:.2}** ({:.2}–{:.2}) | {} | {} | {:.1} | {:.0} | {:.0} | {:.2} | {memory} | {:.2} | {complete} |",
            cell.image,
            cell.link,
            cell.mode,
            cell.pull.median,
            cell.run.median,
            total.median,
            total.min,
            total.max,
            ratio(normal),
            ratio(bound),
            mega(cell.bytes),
            cell.requests.median,
            cell.connections.median,
            cpu.median,
            cell.warm.median,
        );
    }
    text
}

/// The bound of each image on each link, in its parts.
pub(crate) fn bounds(cells: &[Cell]) -> String {
    let mut text = "| image | link | pull again s | warm s | needed MB | bound s |\n|---|---|---|---|---|---|\n".to_owned();
    let mut seen = Vec::new();
    for cell in cells {
        let (Some(bound), key) = (cell.bound, (&cell.image, &cell.link)) else {
            continue;
        };
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.1} | {:.2} |",
            cell.image,
            cell.link,
            bound.again,
            bound.warm,
            bound.needed as f64 / 1e6,
            bound.total
        );
    }
    text
}

fn mega(spread: Spread) -> f64 {
    spread.median / 1e6
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

fn normal(cells: &[Cell], cell: &Cell) -> Option<f64> {
    cells
        .iter()
        .find(|other| {
            other.mode == "overlayfs" && (&other.image, &other.link) == (&cell.image, &cell.link)
        })
        .map(|normal| normal.total.median)
}
