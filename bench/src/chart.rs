//! The table as a picture: one bar per start, as long as the wait for the first line.

use std::fmt::Write;

use crate::report::{Row, megabytes};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 170.0;
const BAR: f64 = 22.0;
const STEP: f64 = 32.0;
const TOP: f64 = 52.0;

pub(crate) fn svg(title: &str, rows: &[Row]) -> String {
    let longest = rows
        .iter()
        .map(|row| row.median.first_line.as_secs_f64())
        .fold(0.1, f64::max);
    let height = TOP + STEP * rows.len() as f64 + 16.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"22\" font-size=\"15\" font-weight=\"bold\">From pull to the container's first line</text>\n\
         <text x=\"16\" y=\"40\" fill=\"#555\">{title}</text>\n"
    );
    for (place, row) in rows.iter().enumerate() {
        let seconds = row.median.first_line.as_secs_f64();
        let y = TOP + STEP * place as f64;
        let length = (WIDTH - LEFT - RIGHT) * seconds / longest;
        let color = match row.mode.as_str() {
            "soci-rs" => "#2b7a4b",
            "normal pull" => "#9aa0a6",
            _ => "#c08a2c",
        };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}, {}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{seconds:.1} s, {:.0} MB</text>",
            LEFT - 8.0,
            y + 16.0,
            row.image,
            row.mode,
            LEFT + length + 8.0,
            y + 16.0,
            megabytes(row.median.bytes),
        );
    }
    out.push_str("</svg>\n");
    out
}
