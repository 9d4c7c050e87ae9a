//! Medians of several runs, as tables of text and as JSON; the plot is beside.

mod plot;
mod read;

use std::fmt::Write as _;

use crate::case::Figures;

pub use plot::svg;
pub use read::read;

/// All runs of one daemon in one case.
#[derive(Debug)]
pub struct Runs {
    /// The daemon's name.
    pub name: String,
    /// One entry per run.
    pub runs: Vec<Figures>,
}

/// All daemons of one case; the first is the base of the ratios.
#[derive(Debug)]
pub struct Outcome {
    /// The case's name.
    pub case: String,
    /// Runs of it are given up after this (s).
    pub limit_s: u64,
    /// By daemon.
    pub daemons: Vec<Runs>,
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

impl Outcome {
    /// Names of all figures, in the order of the first run that has most of them.
    fn figures(&self) -> Vec<&'static str> {
        let runs = self.daemons.iter().flat_map(|daemon| &daemon.runs);
        let longest = runs.max_by_key(|run| run.len());
        longest.into_iter().flatten().map(|(name, _)| *name).collect()
    }

    /// The median of a daemon against the first one's.
    fn ratio(&self, daemon: &Runs, figure: &str) -> Option<f64> {
        let ratio = daemon.median(figure)? / self.daemons.first()?.median(figure)?;
        ratio.is_finite().then_some(ratio)
    }

    /// Rows are figures, columns are daemons; the ratio is to the first daemon.
    pub fn text(&self) -> String {
        let mut out = format!("| {} |", self.case);
        for daemon in &self.daemons {
            let _ = write!(out, " {} |", daemon.name);
        }
        let _ = write!(out, "\n|---|{}\n", "---|".repeat(self.daemons.len()));
        for figure in self.figures() {
            let _ = write!(out, "| {figure} |");
            for daemon in &self.daemons {
                let _ = match (daemon.median(figure), self.ratio(daemon, figure)) {
                    (None, _) => write!(out, " – |"),
                    (Some(value), _) if value.is_infinite() => write!(out, " > {} |", self.limit_s),
                    (Some(value), Some(ratio)) if daemon.name != self.daemons[0].name => {
                        write!(out, " {} ({ratio:.2}x) |", digits(value))
                    }
                    (Some(value), _) => write!(out, " {} |", digits(value)),
                };
            }
            out.push('\n');
        }
        out
    }

    fn json(&self) -> String {
        let daemons = self.daemons.iter().map(|daemon| {
            let runs = daemon.runs.iter().map(|run| {
                let fields = run.iter().map(|(name, value)| {
                    if value.is_finite() {
                        format!("\"{name}\": {value:.4}")
                    } else {
                        format!("\"{name}\": \"> {}\"", self.limit_s)
                    }
                });
                format!("      {{{}}}", fields.collect::<Vec<_>>().join(", "))
            });
            format!("    \"{}\": [\n{}\n    ]", daemon.name, runs.collect::<Vec<_>>().join(",\n"))
        });
        format!("  \"{}\": {{\n{}\n  }}", self.case, daemons.collect::<Vec<_>>().join(",\n"))
    }
}

/// Three significant digits at least.
fn digits(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else if value >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// Every run of every case, for `results/`.
pub fn json(all: &[Outcome]) -> String {
    format!("{{\n{}\n}}\n", all.iter().map(Outcome::json).collect::<Vec<_>>().join(",\n"))
}
