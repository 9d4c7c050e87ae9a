//! Medians of several runs, as a table of text and as JSON.

use std::fmt::Write as _;

use crate::case::Figures;

/// All runs of one daemon.
#[derive(Debug)]
pub struct Runs {
    /// The daemon's name.
    pub name: &'static str,
    /// One entry per run.
    pub runs: Vec<Figures>,
}

impl Runs {
    /// Median of a figure over the runs that have it.
    pub fn median(&self, figure: &str) -> Option<f64> {
        let mut values: Vec<f64> =
            self.runs.iter().flatten().filter(|(name, _)| *name == figure).map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            return values.get(middle).copied();
        }
        Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, *values.get(middle)?))
    }
}

/// Rows are figures, columns are daemons; the ratio is to the first daemon.
pub fn text(all: &[Runs]) -> String {
    let mut out = String::from("| median |");
    for runs in all {
        let _ = write!(out, " {} ({} runs) |", runs.name, runs.runs.len());
    }
    let _ = write!(out, "\n|---|{}\n", "---|".repeat(all.len()));
    let Some(first) = all.first() else {
        return out;
    };
    for (figure, _) in first.runs.first().into_iter().flatten() {
        let _ = write!(out, "| {figure} |");
        for runs in all {
            let _ = match (runs.median(figure), first.median(figure)) {
                (Some(value), Some(base)) => write!(out, " {value:.3} ({:.2}x) |", value / base),
                (Some(value), None) => write!(out, " {value:.3} |"),
                (None, _) => write!(out, " - |"),
            };
        }
        out.push('\n');
    }
    out
}

/// Every run, for `results/`.
pub fn json(case: &str, all: &[Runs]) -> String {
    let daemons: Vec<String> = all
        .iter()
        .map(|runs| {
            let rows: Vec<String> = runs
                .runs
                .iter()
                .map(|run| {
                    let fields: Vec<String> =
                        run.iter().map(|(name, value)| format!("\"{name}\":{value:.4}")).collect();
                    format!("{{{}}}", fields.join(","))
                })
                .collect();
            format!("  \"{}\": [{}]", runs.name, rows.join(", "))
        })
        .collect();
    format!("{{\n  \"case\": \"{case}\",\n{}\n}}\n", daemons.join(",\n"))
}

/// A bar chart of the medians relative to the first daemon, shorter is better.
pub fn svg(case: &str, all: &[Runs]) -> String {
    const COLOURS: [&str; 3] = ["#888888", "#1f77b4", "#bbbbbb"];
    let mut bars = String::new();
    let mut y = 40;
    let figures = all.first().and_then(|runs| runs.runs.first());
    for (figure, _) in figures.into_iter().flatten() {
        let widest = all.iter().filter_map(|runs| runs.median(figure)).fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(bars, "<text x='10' y='{}'>{figure}</text>", y + 13);
        for (number, runs) in all.iter().enumerate() {
            let Some(value) = runs.median(figure) else {
                continue;
            };
            let (width, colour) = (400.0 * value / widest, COLOURS[number % COLOURS.len()]);
            let _ = writeln!(
                bars,
                "<rect x='110' y='{y}' width='{width:.1}' height='16' fill='{colour}'/>\
                 <text x='{:.1}' y='{}'>{} {value:.3}</text>",
                115.0 + width,
                y + 13,
                runs.name
            );
            y += 20;
        }
        y += 10;
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='680' height='{y}' font-family='sans-serif' font-size='13'>\n\
         <rect width='680' height='{y}' fill='white'/>\n\
         <text x='10' y='22' font-weight='bold'>{case}: medians, shorter is better</text>\n{bars}</svg>\n"
    )
}
