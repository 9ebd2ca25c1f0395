//! The table as CSV and as a plot.

use super::watch::Line;
use std::fmt::Write as _;
use std::path::Path;

pub fn csv(path: &Path, lines: &[Line]) {
    let mut text = String::from(
        "second,offered_per_s,predicted_per_s,p50_ms,p99_ms,top_p99_ms,ingest,feature,predict,persist,batch_rows,depth,shed,memory_mb\n",
    );
    for line in lines {
        let Line { second, offered_per_s, predicted_per_s, p50_ms, p99_ms, top_p99_ms, widths, .. } = line;
        let [ingest, feature, predict, persist] = widths;
        writeln!(
            text,
            "{second:.2},{offered_per_s:.0},{predicted_per_s:.0},{p50_ms:.3},{p99_ms:.3},{top_p99_ms:.3},{ingest},{feature},{predict},\
             {persist},{},{},{},{:.1}",
            line.batch_rows, line.depth, line.shed, line.memory_mb
        )
        .unwrap();
    }
    std::fs::write(path, text).unwrap();
}

const WIDTH: f64 = 900.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 70.0;

/// A curve: its name, its colour, its value of a line.
type Curve = (&'static str, &'static str, fn(&Line) -> f64);

pub fn svg(path: &Path, lines: &[Line], title: &str) {
    let panels: [(&str, bool, &[Curve]); 4] = [
        (
            "latency, ms (log)",
            true,
            &[
                ("p50", "#888", |l| l.p50_ms),
                ("p99", "#c33", |l| l.p99_ms),
                ("p99, top tenth", "#36c", |l| l.top_p99_ms),
            ],
        ),
        (
            "1/s",
            false,
            &[("bars offered", "#888", |l| l.offered_per_s), ("predictions", "#393", |l| l.predicted_per_s)],
        ),
        (
            "workers",
            false,
            &[
                ("ingest", "#888", |l| l.widths[0] as f64),
                ("feature", "#36c", |l| l.widths[1] as f64),
                ("predict", "#c33", |l| l.widths[2] as f64),
                ("persist", "#393", |l| l.widths[3] as f64),
            ],
        ),
        ("rows a run, at most", false, &[("largest batch limit", "#c33", |l| l.batch_rows as f64)]),
    ];
    let end = lines.last().map_or(1.0, |line| line.second);
    let height = 30.0 + panels.len() as f64 * (PANEL + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"{LEFT}\" y=\"18\">load: {title}</text>\n"
    );
    for (n, (label, log, curves)) in panels.iter().enumerate() {
        let top = 40.0 + n as f64 * (PANEL + 40.0);
        let scaled = |value: f64| if *log { value.max(0.01).log10() + 2.0 } else { value };
        let most =
            lines.iter().flat_map(|line| curves.iter().map(move |(.., of)| of(line))).fold(0.0, f64::max);
        let most = scaled(most).max(1e-9);
        let x = |second: f64| LEFT + second / end * (WIDTH - LEFT - 20.0);
        let y = |value: f64| top + PANEL - scaled(value) / most * PANEL;
        writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#ccc\"/>",
            WIDTH - LEFT - 20.0
        )
        .unwrap();
        writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{label}</text>", top - 4.0).unwrap();
        let shown = if *log { 10_f64.powf(most - 2.0) } else { most };
        writeln!(svg, "<text x=\"4\" y=\"{}\">{shown:.1}</text>", top + 10.0).unwrap();
        writeln!(svg, "<text x=\"4\" y=\"{}\">{}</text>", top + PANEL, if *log { 0.01 } else { 0.0 })
            .unwrap();
        for (at, (name, colour, of)) in curves.iter().enumerate() {
            let points: String =
                lines.iter().map(|line| format!("{:.1},{:.1} ", x(line.second), y(of(line)))).collect();
            writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>"
            )
            .unwrap();
            let place = LEFT + 180.0 + 130.0 * at as f64;
            writeln!(svg, "<text x=\"{place}\" y=\"{}\" fill=\"{colour}\">{name}</text>", top - 4.0).unwrap();
        }
        for second in (0..=end as usize).step_by(10) {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\">{second} s</text>",
                x(second as f64),
                top + PANEL + 13.0
            )
            .unwrap();
        }
    }
    svg += "</svg>\n";
    std::fs::write(path, svg).unwrap();
}
