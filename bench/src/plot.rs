//! A report as a picture: panels of grouped bars on a logarithmic scale, as SVG. It carries both a light and
//! a dark look with a ground of its own, so that it can be read on any page.
mod scale;

use crate::report::{Report, Row};
use scale::{Scale, figure};

/// What of a suite is drawn.
#[derive(Debug, PartialEq)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) panels: &'static [Panel],
}

/// Cases that share a scale.
#[derive(Debug, PartialEq)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// How the names of its cases start.
    pub(crate) cases: &'static [&'static str],
}

impl Panel {
    pub(crate) fn shows(&self, case: &str) -> bool {
        self.cases.iter().any(|start| case.starts_with(start))
    }

    /// Those of one unit: ratios and failures have cases of the same name. Nothing has no place on a logarithmic scale.
    fn rows<'a>(&self, report: &'a Report) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = report.rows.iter().filter(|row| self.shows(&row.case)).collect();
        let unit = rows.first().map_or("", |row| row.unit);
        rows.retain(|row| row.unit == unit && row.median > 0.0);
        rows
    }
}

/// Lengths are in pixels of the picture's own scale.
const WIDTH: usize = 1000;
const MARGIN: usize = 24;
/// From the top to the first bar: title, legend, panels' titles.
const HEAD: usize = 116;
/// Below the last bar: the scale's labels, how it was made, the machine.
const FOOT: usize = 80;
const GAP: usize = 40;
/// Right of the longest bar, for its figure.
const FIGURE: usize = 64;
/// A case's name, and the space above it.
const NAME: usize = 26;
/// From bar to bar, and a bar.
const STEP: usize = 15;
const BAR: usize = 12;
/// Of a character of the legend, about.
const CHARACTER: usize = 7;

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:18px;font-weight:600}.panel{font-size:13px;font-weight:600}.case{font-weight:600}\
.figure{font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:3px}.soft{font-size:11px;fill:#59636e}\
.ground{fill:#fff;stroke:#d1d9e0}.line{stroke:#d1d9e0}\
.s0{fill:#d9480f}.s1{fill:#2b8a3e}.s2{fill:#74b816}.s3{fill:#1864ab}.s4{fill:#4dabf7}.s5{fill:#868e96}.s6{fill:#9c36b5}.s7{fill:#e0a800}.s8{fill:#0b7285}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.figure{stroke:#0d1117}.soft{fill:#9198a1}\
.ground{fill:#0d1117;stroke:#3d444d}.line{stroke:#3d444d}\
.s0{fill:#ff8c42}.s1{fill:#40c057}.s2{fill:#a9e34b}.s3{fill:#4c8fd6}.s4{fill:#a5d8ff}.s5{fill:#adb5bd}.s6{fill:#cc5de8}.s7{fill:#ffe066}.s8{fill:#3bc9db}}";

/// The picture of a report.
pub(crate) fn render(report: &Report, plot: &Plot) -> String {
    let subjects = subjects(report);
    let panels: Vec<(&Panel, Vec<&Row>)> =
        plot.panels.iter().map(|panel| (panel, panel.rows(report))).collect();
    let bars = panels.iter().map(|(_, rows)| height(rows)).max().unwrap_or(0);
    let total = HEAD + bars + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" width=\"{WIDTH}\" \
         height=\"{total}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        WIDTH - 1,
        total - 1,
        title = escaped(plot.title),
    );
    text(&mut svg, "title", MARGIN, 36, plot.title);
    legend(&mut svg, &subjects);
    let width = (WIDTH - 2 * MARGIN - GAP * panels.len().saturating_sub(1)) / panels.len().max(1);
    for (at, (panel, rows)) in panels.iter().enumerate() {
        let left = MARGIN + at * (width + GAP);
        text(&mut svg, "panel", left, HEAD - 14, panel.title);
        draw(&mut svg, rows, &subjects, left, width - FIGURE, HEAD + bars);
    }
    let made = format!("Medians of {} rounds, logarithmic scale.", report.rounds);
    text(&mut svg, "soft", MARGIN, total - 34, &made);
    text(&mut svg, "soft", MARGIN, total - 18, &format!("{}.", report.machine));
    svg.push_str("</svg>\n");
    svg
}

/// In the order of the table; a subject keeps its colour in all panels.
fn subjects(report: &Report) -> Vec<&'static str> {
    let mut subjects = Vec::new();
    for row in &report.rows {
        if !subjects.contains(&row.subject) {
            subjects.push(row.subject);
        }
    }
    subjects
}

fn height(rows: &[&Row]) -> usize {
    let names = rows.chunk_by(|one, next| one.case == next.case).count();
    names * NAME + rows.len() * STEP
}

fn legend(svg: &mut String, subjects: &[&str]) {
    let mut left = MARGIN;
    for (at, subject) in subjects.iter().enumerate() {
        rect(svg, at, left, 54, BAR);
        text(svg, "legend", left + 18, 64, subject);
        left += 18 + subject.len() * CHARACTER + 18;
    }
}

/// The bars of a panel, their cases above them, decades behind them and named at the bottom.
fn draw(svg: &mut String, rows: &[&Row], subjects: &[&str], left: usize, width: usize, bottom: usize) {
    let Some(scale) = Scale::of(rows.iter().map(|row| row.median)) else { return };
    let unit = rows.first().map_or("", |row| row.unit);
    for decade in scale.decades() {
        let x = left + along(&scale, decade, width);
        svg.push_str(&format!(
            "<line class=\"line\" x1=\"{x}\" y1=\"{HEAD}\" x2=\"{x}\" y2=\"{bottom}\"/>\n"
        ));
        let label = figure(decade, unit);
        svg.push_str(&format!(
            "<text class=\"soft\" text-anchor=\"middle\" x=\"{x}\" y=\"{}\">{label}</text>\n",
            bottom + 16
        ));
    }
    let mut top = HEAD;
    for group in rows.chunk_by(|one, next| one.case == next.case) {
        top += NAME;
        text(svg, "case", left + 4, top - 6, &group[0].case);
        for row in group {
            let length = along(&scale, row.median, width);
            let colour = subjects.iter().position(|subject| *subject == row.subject).unwrap_or_default();
            rect(svg, colour, left, top, length);
            text(svg, "figure", left + length + 5, top + 10, &figure(row.median, row.unit));
            top += STEP;
        }
    }
}

fn along(scale: &Scale, value: f64, width: usize) -> usize {
    (scale.share(value) * width as f64).round() as usize
}

fn rect(svg: &mut String, colour: usize, x: usize, y: usize, width: usize) {
    svg.push_str(&format!(
        "<rect class=\"s{colour}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" rx=\"2\"/>\n"
    ));
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, text: &str) {
    let text = escaped(text);
    svg.push_str(&format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n"));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    const PLOT: Plot = Plot {
        title: "Kills & answers",
        panels: &[Panel { title: "Time", cases: &["kill"] }, Panel { title: "None", cases: &["other"] }],
    };

    fn with(rows: &[(&str, &'static str, f64)]) -> Report {
        let mut report = example();
        let row = report.rows.remove(0);
        report.rows = rows
            .iter()
            .map(|(case, subject, median)| Row {
                case: (*case).into(),
                subject,
                median: *median,
                ..row.clone()
            })
            .collect();
        report
    }

    /// The widths of the bars with a colour, after the square in the legend.
    fn widths(svg: &str, colour: usize) -> Vec<usize> {
        let start = format!("<rect class=\"s{colour}\"");
        let bars = svg.lines().filter(|line| line.starts_with(&start)).skip(1);
        let width = |line: &str| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok();
        bars.map(|line| width(line).expect("a width")).collect()
    }

    #[test]
    fn ten_times_as_much_is_one_step_further() {
        let report = with(&[("kill a", "x", 20.0), ("kill a", "y", 200.0), ("kill b", "x", 2000.0)]);
        let svg = render(&report, &PLOT);
        let (x, y) = (widths(&svg, 0), widths(&svg, 1));
        assert_eq!((x.len(), y.len()), (2, 1), "{svg}");
        assert!((y[0] - x[0]).abs_diff(x[1] - y[0]) <= 1, "{x:?} {y:?}");
    }

    #[test]
    fn cases_of_no_panel_are_left_out_and_all_is_escaped() {
        let svg = render(&with(&[("kill -> answer", "x", 20.0), ("CPU, kill", "x", 3.0)]), &PLOT);
        assert!(svg.contains(">kill -&gt; answer</text>") && svg.contains("Kills &amp; answers"), "{svg}");
        assert!(!svg.contains("CPU"), "{svg}");
    }

    #[test]
    fn other_units_and_nothing_are_left_out() {
        let mut report = with(&[("kill a", "x", 20.0), ("kill a, by y", "x", 2.0), ("kill b", "x", 0.0)]);
        report.rows[1].unit = "x";
        let svg = render(&report, &PLOT);
        assert!(svg.contains(">kill a</text>"), "{svg}");
        assert!(!svg.contains("by y") && !svg.contains("kill b"), "{svg}");
    }

    #[test]
    fn the_machine_and_all_subjects_are_named() {
        let report = with(&[("kill a", "x", 20.0), ("kill a", "y", 200.0)]);
        let svg = render(&report, &PLOT);
        for part in ["2 cores of A processor", ">x</text>", ">y</text>", "Medians of 7 rounds"] {
            assert!(svg.contains(part), "{part}");
        }
        let (opened, closed) = (svg.matches("<text").count(), svg.matches("</text>").count());
        assert_eq!(opened, closed);
    }
}
