//! The screen of a node, as text.

use super::*;
use crate::api::tests::{HOST_AT, Plant, converged};
use crate::api::{Body, Question};

fn sample(plant: &Plant, at_ms: u64) -> Sample {
    let ask = |question| plant.ask(HOST_AT, &question).body;
    let Body::Version(version) = ask(Question::Version) else { panic!("no version") };
    let Body::Neighbors(neighbors) = ask(Question::Neighbors) else { panic!("no neighbors") };
    let Body::Health(health) = ask(Question::Health) else { panic!("no health") };
    let Body::History(history) = ask(Question::History) else { panic!("no history") };
    let mut kernel = Kernel::default();
    kernel.fib.install = true;
    kernel.fib.routes = 3;
    Sample {
        node: "host".to_owned(),
        at_ms,
        version: Version { uptime_s: 11_100, ..version },
        neighbors,
        health,
        kernel,
        bfd: BfdSessions::default(),
        history,
    }
}

fn screen(view: &View<'_>, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(area, &mut buffer, view);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}

/// What another run of the speaker may say otherwise is made the same.
fn steady(sample: &mut Sample) {
    for peer in &mut sample.neighbors.neighbors {
        (peer.since_s, peer.messages_received, peer.messages_sent) = (58, 100, 200);
        (peer.updates_received, peer.updates_sent) = (10, 20);
    }
    for event in &mut sample.history.history {
        (event.at_ms, event.ago_ms, event.since_ms) = (1_000, 58_000, 1_000);
    }
}

#[test]
fn a_node_fits_on_a_screen_with_rates_and_what_is_wrong() {
    let plant = converged();
    let mut before = sample(&plant, 1_000);
    steady(&mut before);
    let mut now = Sample { at_ms: 3_000, ..before.clone() };
    now.neighbors.neighbors[0].messages_received += 7;
    now.neighbors.neighbors[1].updates_received += 4_000;
    now.neighbors.neighbors[2].state = "Active".to_owned();
    now.neighbors.neighbors[2].last_error = Some("Connection refused".to_owned());
    now.health.checks[1].state = State::Bad;
    now.health.checks[1].fact =
        "2 of 3 neighbors are Established; spine: Active for 58s, Connection refused".to_owned();
    let view = View { now: &now, before: Some(&before), skipped: 0, trouble: None };
    let small = View { skipped: 2, ..view };
    let first = View { before: None, trouble: Some("no daemon answers on /run/weft/weft.sock\n  remedy"), ..view };
    let all = [screen(&view, 120, 24), screen(&small, 80, 12), screen(&first, 100, 16)];
    insta::assert_snapshot!("screens", all.join(&format!("{}\n", "=".repeat(60))));
}

#[test]
fn no_screen_is_too_small() {
    let plant = converged();
    let now = sample(&plant, 0);
    for (width, height) in [(0, 0), (1, 1), (5, 2), (20, 7), (500, 200)] {
        let view = View { now: &now, before: None, skipped: 99, trouble: None };
        assert_eq!(screen(&view, width, height).lines().count(), usize::from(height));
    }
}
