//! The plot: for each case and figure one bar per daemon, on a logarithmic scale of the ratio to the first daemon. Shorter is better.

use std::fmt::Write as _;

use super::{Outcome, Runs, digits};

/// Figures worth a picture, and what they are called there.
const SHOWN: [(&str, &str); 14] = [
    ("conv_s", "converged, s"),
    ("wd_mon_s", "withdrawn, s"),
    ("fib_s", "in the kernel, s"),
    ("wd_fib_s", "out of the kernel, s"),
    ("loss_ms", "carrier lost: all off it, ms"),
    ("beyond_ms", "path failed: all off it, ms"),
    ("repair_ms", "carrier back: whole, ms"),
    ("flap_ms", "100 ms without: whole, ms"),
    ("back_s", "session back: whole, s"),
    ("up_s", "Established, s"),
    ("answer_ms", "KEEPALIVE waits, ms"),
    ("nlri_per_prefix", "NLRI per prefix"),
    ("hwm_mb", "peak memory, MB"),
    ("rss_mb", "memory, MB"),
];
/// Left and right end of the scale; beyond it bars are cut.
const SCALE: (f64, f64) = (0.01, 100.0);
/// Where the scale begins, and its width.
const LEFT: f64 = 190.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 11.0;
const STEP: f64 = 14.0;

/// Daemons that decide have a colour of their own, whatever else is shown.
fn colour(name: &str) -> &'static str {
    match name {
        "weft" => "#d62728",
        "weft-keep" => "#e88b8b",
        "weft-import" => "#b5651d",
        "weft-keep-import" => "#d9a066",
        "bird" => "#4c72b0",
        "frr" => "#55a868",
        "frr-tuned" => "#2d6a3f",
        "gobgp" => "#8172b2",
        "openbgpd" => "#c9a227",
        _ => "#999999",
    }
}

fn x(ratio: f64) -> f64 {
    let (low, high) = SCALE;
    LEFT + WIDTH * (ratio.clamp(low, high) / low).ln() / (high / low).ln()
}

/// The whole picture.
pub fn svg(all: &[Outcome]) -> String {
    let mut rows = String::new();
    let mut y = 70.0;
    for outcome in all {
        for (figure, label) in SHOWN {
            let shown: Vec<&Runs> = outcome.daemons.iter().filter(|daemon| daemon.median(figure).is_some()).collect();
            // Where everybody says each prefix once, there is nothing to see.
            let differs = figure != "nlri_per_prefix" || shown.iter().any(|daemon| daemon.median(figure) > Some(1.1));
            if shown.len() > 1 && differs {
                y = group(&mut rows, outcome, (figure, label), &shown, y);
            }
        }
    }
    let base = all.first().and_then(|outcome| outcome.daemons.first()).map_or("the first", |daemon| &*daemon.name);
    let mut grid = String::new();
    for (ratio, text) in [
        (0.01, "0.01×"),
        (0.03, "0.03×"),
        (0.1, "0.1×"),
        (0.3, "0.3×"),
        (1.0, "1×"),
        (3.0, "3×"),
        (10.0, "10×"),
        (30.0, "30×"),
    ] {
        let (at, width) = (x(ratio), if ratio == 1.0 { 1.5 } else { 0.5 });
        let _ = writeln!(
            grid,
            "<line x1='{at:.1}' y1='58' x2='{at:.1}' y2='{y:.0}' stroke='#aaa' stroke-width='{width}'/>\
             <text x='{at:.1}' y='52' text-anchor='middle' fill='#555'>{text}</text>"
        );
    }
    let (width, height) = (LEFT + WIDTH + 120.0, y + 10.0);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='{width}' height='{height}' fill='white'/>\n\
         <text x='12' y='24' font-size='15' font-weight='bold'>Time and memory against {base}, medians: left of the line is better</text>\n\
         {grid}{rows}</svg>\n"
    )
}

/// The bars of one figure; answers where the next begins.
fn group(out: &mut String, outcome: &Outcome, (figure, label): (&str, &str), shown: &[&Runs], top: f64) -> f64 {
    let _ = writeln!(
        out,
        "<text x='12' y='{:.0}'><tspan font-weight='bold'>{}</tspan> {label}</text>",
        top + 9.0,
        outcome.case
    );
    let mut y = top;
    for daemon in shown {
        let value = daemon.median(figure).unwrap_or(f64::NAN);
        let ratio = outcome.ratio(daemon, figure);
        let text = if value.is_infinite() {
            format!("{} &gt; {}", daemon.name, outcome.limit_s)
        } else {
            format!("{} {}", daemon.name, digits(value))
        };
        let beyond = if value.is_infinite() { SCALE.1 } else { 1.0 };
        let end = x(ratio.unwrap_or(beyond));
        let (from, to) = (end.min(x(1.0)), end.max(x(1.0)));
        let weight = if daemon.name == "weft" { "bold" } else { "normal" };
        // The name stands where the bar ends, and on the free side of the line.
        let (text_x, anchor) = if end < x(1.0) { (from - 4.0, "end") } else { (to + 4.0, "start") };
        let _ = writeln!(
            out,
            "<rect x='{from:.1}' y='{y:.0}' width='{:.1}' height='{BAR}' fill='{}'/>\
             <text x='{text_x:.1}' y='{:.0}' text-anchor='{anchor}' font-weight='{weight}'>{text}</text>",
            (to - from).max(1.5),
            colour(&daemon.name),
            y + 9.5
        );
        y += STEP;
    }
    y + 8.0
}
