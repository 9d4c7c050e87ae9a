//! Draws what flows lost, and when: time runs to the right, each flow and direction is a line, and what is missing is red.

use std::fmt::Write as _;
use std::time::Duration;

use super::Loss;
use crate::graph::escape;

/// Where lines begin; names are left of it.
const LEFT: f64 = 130.0;
/// Length of the longest flow.
const WIDTH: f64 = 800.0;
/// From one line to the next.
const STEP: f64 = 9.0;
/// A part that lost one packet of many can be seen too.
const FAINTEST: f64 = 0.3;
/// Between two marks of the time axis, at least.
const TICK: f64 = 48.0;

/// Flows that began together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What was done meanwhile.
    pub title: String,
    /// Both directions by their names, and their flows.
    pub directions: [(String, Vec<Loss>); 2],
    /// From one packet of a flow to the next.
    pub period: Duration,
    /// When it was done, counted from the first packet.
    pub deed: Option<Duration>,
}

impl Group {
    fn all(&self) -> impl Iterator<Item = &Loss> {
        self.directions.iter().flat_map(|(_, flows)| flows)
    }

    /// Seconds from the first packet of the longest flow to its last.
    fn seconds(&self) -> f64 {
        number(self.all().map(|loss| loss.sent).max().unwrap_or(0)) * self.period.as_secs_f64()
    }

    fn words(&self) -> String {
        let lost: u64 = self.all().map(Loss::lost).sum();
        let sent: u64 = self.all().map(|loss| loss.sent).sum();
        let longest = self.all().map(|loss| loss.longest_run).max().unwrap_or(0);
        let outage = number(longest) * self.period.as_secs_f64() * 1_000.0;
        format!("{}: {lost} of {sent} packets lost, longest outage of a flow {outage:.0} ms", self.title)
    }
}

/// A picture of all groups, one below the other, on the same scale of time.
#[must_use]
pub fn svg(groups: &[Group]) -> String {
    let seconds = groups.iter().map(Group::seconds).fold(0.0, f64::max);
    let scale = WIDTH / seconds.max(0.001);
    let (mut body, mut y) = (String::new(), 12.0);
    for group in groups {
        y = draw(&mut body, group, scale, y);
    }
    let width = LEFT + WIDTH + 30.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Draws a group; answers where the next begins.
fn draw(body: &mut String, group: &Group, scale: f64, top: f64) -> f64 {
    let _ = writeln!(
        body,
        "<text x=\"12\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\">{}</text>",
        top + 10.0,
        escape(&group.words())
    );
    let first = top + 22.0;
    let mut y = first;
    for (name, flows) in &group.directions {
        let _ = writeln!(body, "<text x=\"12\" y=\"{:.1}\">{}</text>", y + 8.0, escape(name));
        for loss in flows {
            line(body, loss, group.period, scale, y);
            y += STEP;
        }
        // a direction has room for its name, however few its flows are
        y = y.max(first) + 6.0;
    }
    if let Some(deed) = group.deed {
        let x = LEFT + deed.as_secs_f64() * scale;
        // beside the lines: what was lost then is to be seen
        let _ = writeln!(
            body,
            "<path d=\"M{x:.1} {:.1}l-4 -5h8z\" fill=\"#333\"/><path d=\"M{x:.1} {:.1}l-4 5h8z\" fill=\"#333\"/>",
            first - 1.0,
            y - 5.0
        );
    }
    axis(body, group.seconds(), scale, y);
    y + 34.0
}

fn line(body: &mut String, loss: &Loss, period: Duration, scale: f64, y: f64) {
    let packet = period.as_secs_f64() * scale;
    let height = STEP - 2.0;
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height}\" fill=\"#cfe5cf\"/>",
        number(loss.sent) * packet
    );
    let part = loss.part();
    for (from, missing) in (0_u64..).step_by(usize::try_from(part).unwrap_or(usize::MAX)).zip(&loss.missing) {
        if *missing == 0 {
            continue;
        }
        let packets = part.min(loss.sent - from);
        let share = number(*missing) / number(packets);
        let _ = writeln!(
            body,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height}\" fill=\"#c22\" fill-opacity=\"{:.2}\"/>",
            LEFT + number(from) * packet,
            (number(packets) * packet).max(1.5),
            FAINTEST + (1.0 - FAINTEST) * share
        );
    }
}

/// Marks at round times.
fn axis(body: &mut String, seconds: f64, scale: f64, y: f64) {
    let steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
    let step = steps.into_iter().find(|step| step * scale >= TICK).unwrap_or(120.0);
    let mut at = 0.0;
    while at <= seconds {
        let x = LEFT + at * scale;
        let text = if step < 1.0 { format!("{:.0} ms", at * 1_000.0) } else { format!("{at:.0} s") };
        let _ = writeln!(
            body,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#888\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{text}</text>",
            y + 4.0,
            y + 15.0
        );
        at += step;
    }
}

#[expect(clippy::cast_precision_loss, reason = "packets of ten minutes at most, drawn as points")]
fn number(packets: u64) -> f64 {
    packets as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_where_it_was_lost() {
        let good = Loss { sent: 400, received: 400, longest_run: 0, missing: vec![0; 400] };
        let mut missing = vec![0; 400];
        missing[100..150].fill(1);
        let bad = Loss { sent: 400, received: 350, longest_run: 50, missing };
        let group = Group {
            title: "leaf1 <dies>".to_owned(),
            directions: [("a ▸ b".to_owned(), vec![good]), ("b ▸ a".to_owned(), vec![bad])],
            period: Duration::from_millis(1),
            deed: Some(Duration::from_millis(100)),
        };
        let picture = svg(&[group]);
        assert!(
            picture.contains("leaf1 &lt;dies&gt;: 50 of 800 packets lost, longest outage of a flow 50 ms"),
            "{picture}"
        );
        // 400 ms on 800 points: what is lost from 100 ms on begins where the deed's marks are
        assert_eq!(picture.matches("fill=\"#c22\"").count(), 50);
        assert!(
            picture.contains("x=\"330.0\" y=\"49.0\" width=\"2.0\" height=\"7\" fill=\"#c22\" fill-opacity=\"1.00\""),
            "{picture}"
        );
        assert!(picture.contains("<path d=\"M330.0 33.0"));
        assert!(picture.contains(">400 ms</text>"));
    }
}
