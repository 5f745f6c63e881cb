//! A report for people.
use crate::report::{Report, Row};

const HEAD: [&str; 6] = ["case", "subject", "unit", "median", "min", "max"];
/// Columns from here on are numbers, aligned at the right.
const NUMBERS: usize = 3;

/// The table, with what it shows above and what is missing below.
pub(crate) fn render(report: &Report, explains: &str, wanted: usize) -> String {
    let lines: Vec<[String; 6]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(report.rows.iter().map(cells)).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0));
    let mut text = format!("{} on {}\n{}\n\n", report.suite, report.machine, rounds(report.rounds, wanted));
    for line in &lines {
        text.push_str(aligned(line, &widths).trim_end());
        text.push('\n');
    }
    for skipped in &report.skipped {
        text.push_str(&format!("\n{skipped}\n"));
    }
    text.push_str(&format!("\n{explains}\n"));
    text
}

fn rounds(made: usize, wanted: usize) -> String {
    let plural = if made == 1 { "" } else { "s" };
    if made == wanted {
        format!("{made} round{plural}, interleaved")
    } else {
        format!("{made} round{plural}, interleaved ({wanted} were wanted: time was up)")
    }
}

fn cells(row: &Row) -> [String; 6] {
    let [median, min, max] = [row.median, row.min, row.max].map(number);
    [row.case.clone(), row.subject.to_owned(), row.unit.to_owned(), median, min, max]
}

/// As many digits as tell two rounds apart.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middling if middling >= 100.0 => format!("{value:.1}"),
        middling if middling >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn aligned(line: &[String; 6], widths: &[usize; 6]) -> String {
    let mut text = String::new();
    for (at, (cell, &width)) in line.iter().zip(widths).enumerate() {
        if at < NUMBERS {
            text.push_str(&format!("{cell:<width$}  "));
        } else {
            text.push_str(&format!("{cell:>width$}  "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn columns_are_aligned_and_what_is_skipped_is_named() {
        let text = render(&example(), "What it means.", 7);
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        assert_eq!(line("case"), "case            subject       unit  median    min    max");
        assert_eq!(line("kill"), "kill to answer  cluster-core  ms     1.500  1.250  12.00");
        assert!(text.contains("skipped: node (not installed)"), "{text}");
        assert!(text.ends_with("What it means.\n"), "{text}");
    }

    #[test]
    fn rounds_that_time_did_not_allow_are_admitted() {
        assert!(render(&example(), "", 7).contains("7 rounds, interleaved\n"));
        assert!(render(&example(), "", 20).contains("7 rounds, interleaved (20 were wanted: time was up)"));
    }
}
