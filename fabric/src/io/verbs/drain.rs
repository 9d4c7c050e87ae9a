//! `weft drain` and `weft undrain`: the order, and the wait until packets no longer come.
#![expect(clippy::disallowed_types, reason = "a person waits by the clock")]

use super::{Form, VerbError, simple};
use crate::api::{self, Drains};
use crate::drain::wait::{Step, Wait};
use crate::drain::{Scope, State};
use crate::io::client::Client;
use std::io::Write;
use std::time::Instant;
use weft_bgp::time::Duration;

/// Between two looks.
const POLL: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub scope: Scope,
    /// How far.
    pub state: State,
    /// Also the last way to the node.
    pub force: bool,
    /// Return when it is there and packets no longer come, and no later than this.
    pub wait: Option<Duration>,
}

/// Carries it out.
pub(super) fn run(client: &Client, order: &Order, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let whom = match &order.scope {
        Scope::Node => String::new(),
        Scope::Interface(name) => format!("&interface={}", api::query(name)),
        Scope::Vip(name) => format!("&vip={}", api::query(name)),
    };
    let force = if order.force { "&force=true" } else { "" };
    let target = format!("/v1/drain?state={}{whom}{force}", order.state);
    let reply = client.post(&target)?;
    let Some(limit) = order.wait else {
        return super::say(&reply.node, &reply.body.done, form, out);
    };
    if form == Form::Table {
        writeln!(out, "{}: {}", reply.node, reply.body.done)?;
        out.flush()?;
    }
    let (begun, mut wait) = (Instant::now(), Wait::new(order.scope.clone(), order.state));
    loop {
        let found = client.read::<Drains>(&client.text("/v1/drain")?)?;
        match wait.look(&found.body) {
            Step::Done(words) => return super::say(&found.node, &words, form, out),
            Step::Waiting(Some(words)) if form == Form::Table => {
                writeln!(out, "{}: {words}", found.node)?;
                out.flush()?;
            }
            Step::Waiting(_) => {}
        }
        if begun.elapsed() >= limit {
            return Err(VerbError::Unknown(format!("{}: {}", found.node, wait.given_up(limit.as_secs()))));
        }
        std::thread::sleep(POLL);
    }
}

/// `weft show drain`.
pub(super) fn show(client: &Client, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    simple(client, "/v1/drain", form, out, |_, answer: &Drains| crate::show::drain::table_of(answer))
}
