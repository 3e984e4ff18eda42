//! Starts as a picture: one bar each, as long as the wait for the first line, readable on light and dark.

use std::fmt::Write as _;

use super::cell::Cell;

const WIDTH: f64 = 780.0;
const LEFT: f64 = 168.0;
const RIGHT: f64 = 172.0;
const BAR: f64 = 16.0;
const STEP: f64 = 20.0;
const GROUP: f64 = 30.0;
const TOP: f64 = 62.0;

/// Colours of text and bars follow the reader's theme; GitHub shows SVG files as pictures, where this works too.
const STYLE: &str = "\
.t{fill:#1f2328}.s{fill:#59636e}.overlayfs{fill:#8c959f}.peer{fill:#bf8700}.ours{fill:#1a7f37}.more{fill:#4ac26b}.b{stroke:#cf222e}\
@media(prefers-color-scheme:dark){.t{fill:#e6edf3}.s{fill:#9198a1}.overlayfs{fill:#6e7681}.peer{fill:#d29922}.ours{fill:#3fb950}.more{fill:#7ee787}.b{stroke:#ff7b72}}";

pub(crate) fn svg(title: &str, cells: &[Cell]) -> String {
    let groups = groups(cells);
    let longest = cells.iter().map(|cell| cell.total.max).fold(0.1, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let height = TOP
        + groups
            .iter()
            .map(|group| GROUP + STEP * group.len() as f64)
            .sum::<f64>()
        + 26.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<style>{STYLE}</style>\n\
         <text class=\"t\" x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"600\">From the request to pull to the container's first line</text>\n\
         <text class=\"s\" x=\"12\" y=\"42\">{}</text>\n",
        escape(title)
    );
    let mut y = TOP;
    for group in groups {
        let Some(first) = group.first() else { continue };
        let heading = format!("{}, {}", first.image, first.link);
        let _ = writeln!(
            out,
            "<text class=\"t\" x=\"12\" y=\"{:.1}\" font-weight=\"600\">{}</text>",
            y + 16.0,
            escape(&heading)
        );
        y += GROUP - 6.0;
        let top = y;
        for cell in &group {
            bar(&mut out, cell, y, scale);
            y += STEP;
        }
        if let Some(bound) = first.bound {
            let x = LEFT + bound.total * scale;
            let _ = writeln!(
                out,
                "<line class=\"b\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{y:.1}\" stroke-dasharray=\"3 2\"/>"
            );
        }
        y += 6.0;
    }
    let _ = writeln!(
        out,
        "<text class=\"s\" x=\"12\" y=\"{:.1}\">Thin lines: fastest to slowest run. Dashed: the bound of a start with 4 MiB spans on this link.</text>\n</svg>",
        y + 14.0
    );
    out
}

fn bar(out: &mut String, cell: &Cell, y: f64, scale: f64) {
    let class = match cell.mode.as_str() {
        "overlayfs" => "overlayfs",
        "soci-rs" => "ours",
        mode if mode.starts_with("soci-rs") => "more",
        _ => "peer",
    };
    let [min, median, max] =
        [cell.total.min, cell.total.median, cell.total.max].map(|seconds| seconds * scale);
    let (middle, text) = (y + BAR / 2.0, y + 12.5);
    let _ = writeln!(
        out,
        "<text class=\"t\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{median:.1}\" height=\"{BAR}\" rx=\"2\"/>\
         <rect class=\"s\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"1.5\"/>\
         <text class=\"t\" x=\"{:.1}\" y=\"{text:.1}\">{:.2} s, {:.0} MB</text>",
        LEFT - 8.0,
        escape(&cell.mode),
        LEFT + min,
        middle - 0.75,
        (max - min).max(1.0),
        LEFT + max + 8.0,
        cell.total.median,
        cell.bytes.median / 1e6,
    );
}

/// Cells of one image on one link stand together, in the order in which they came.
fn groups(cells: &[Cell]) -> Vec<Vec<&Cell>> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    for cell in cells {
        let same = |group: &&mut Vec<&Cell>| {
            group
                .first()
                .is_some_and(|first| (&first.image, &first.link) == (&cell.image, &cell.link))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("a<b> & \"c\"\n"), "a&lt;b&gt; &amp; &quot;c&quot; ");
        let picture = svg("<script>", &[]);
        assert!(!picture.contains("<script>") && picture.ends_with("</svg>\n"));
    }
}
