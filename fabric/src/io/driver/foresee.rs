//! What a reload would do, for whoever asks: the file is read and compared at once; routes are looked at in slices between other work.

use super::Daemon;
use crate::api::{Answer, Body, Planned, Refusal};
use crate::io::auth::Keys;
use crate::plan::Plan;
use tokio::sync::oneshot;
use weft_bgp::speaker::Forecast;
use weft_bgp::time::{Duration, Instant};

/// Longest time for the routes; then the answer says that it is of a part of them. Less than the API waits for any answer.
const LIMIT: Duration = Duration::from_secs(3);

/// A plan under way. One at a time: it costs as much as a walk over the table.
#[derive(Debug)]
struct Foreseeing {
    plan: Plan,
    forecast: Forecast,
    until: Instant,
    reply: oneshot::Sender<Answer>,
}

/// What is under way with the configuration.
#[derive(Debug, Default)]
pub(super) struct Changing {
    /// Keys of the configuration that comes back unless the one in force is confirmed.
    pub(super) earlier_keys: Option<Keys>,
    /// Somebody waits to hear what a reload would do.
    foreseeing: Option<Foreseeing>,
}

impl Changing {
    pub(super) const fn is_foreseeing(&self) -> bool {
        self.foreseeing.is_some()
    }
}

impl Daemon {
    pub(super) fn foresee(&mut self, reply: oneshot::Sender<Answer>) {
        match self.begin_plan() {
            Ok((plan, forecast)) => {
                let until = self.clock.now() + LIMIT;
                self.changing.foreseeing = Some(Foreseeing { plan, forecast, until, reply });
                self.foresee_on();
            }
            // Who does not wait for the answer any more does not miss it.
            Err(refusal) => drop(reply.send(Answer::refused(&self.node, refusal))),
        }
    }

    fn begin_plan(&self) -> Result<(Plan, Forecast), Refusal> {
        if self.changing.foreseeing.is_some() {
            return Err(Refusal::new(503, "another plan is being made", "try again"));
        }
        Ok(self.node.plan(&self.read()?))
    }

    /// One slice more of the plan under way, if there is one.
    pub(super) fn foresee_on(&mut self) {
        let now = self.clock.now();
        let Some(under_way) = &mut self.changing.foreseeing else {
            return;
        };
        if now >= under_way.until {
            under_way.forecast.cut();
        }
        if under_way.reply.is_closed() {
            self.changing.foreseeing = None;
        } else if self.node.forecast_on(&mut under_way.forecast)
            && let Some(Foreseeing { mut plan, forecast, reply, .. }) = self.changing.foreseeing.take()
        {
            plan.add_routes(&forecast);
            let planned = Planned {
                file: self.path.display().to_string(),
                summary: plan.summary(),
                refused: plan.refusal(),
                plan,
            };
            let _ = reply.send(Answer::new(&self.node.config().hostname, Body::Plan(Box::new(planned))));
        }
    }
}
