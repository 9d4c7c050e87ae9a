//! Watch streams: one JSON document in a line for each machine that changed, until the client leaves or lags too far behind.
//!
//! ```text
//! {"revision":12,"serial":"n1","machine":{…}}        "machine":null when it was removed
//! {"revision":12,"resync":true}                      the last line: read everything again, then watch from there
//! ```

use super::Api;
use super::answer::{Failure, Pairs, Reply, Who};
use super::openapi::{Operation, on};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::MACHINES;
use crate::inventory::access::Access;
use crate::inventory::machine::Machine;
use crate::store::{Event, Revision, StoreError, Watch};
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{Method, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// After so long without a change an empty line shows that the server is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

#[derive(Serialize, JsonSchema)]
pub(super) struct Line<'a> {
    revision: u64,
    serial: &'a str,
    /// As it is now; null when it was removed.
    #[schemars(with = "Option<Machine>")]
    machine: Option<&'a RawValue>,
}

pub(super) fn operations() -> Vec<Operation> {
    let about = "A line for each change of a machine; the line {\"revision\":R,\"resync\":true} is the last one of a watcher that is to read \
        everything again; an empty line is a sign of life";
    vec![
        on(Method::GET, "/v1/watch/machines", get(machines), about)
            .needs(Access::Read)
            .asks(&[("since", "A revision: what happened after it; from now on unless given")])
            .gives_lines::<Line<'static>>(),
    ]
}

struct Watching {
    watch: Box<dyn Watch>,
    last: Revision,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// `?since=REVISION`: what happened after it; from now on unless given.
pub(super) async fn machines(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let since = pairs.take::<u64>("since", "a revision, from an answer of /v1/machines")?;
    pairs.empty("since")?;
    let place = api.watchers.clone().try_acquire_owned().map_err(|_| {
        let refusal = Refusal::invalid("", "there are too many watchers", format!("at most {}", super::WATCHERS_MAX));
        Failure::from(refusal.of(Kind::TooMuch))
    })?;
    let last = since.map_or_else(|| api.service.inventory().revision(), Revision);
    let watch = api.service.store().watch(MACHINES, last).await.map_err(|error| {
        let StoreError::Compacted(from) = error else {
            return NetbootError::Store(error.to_string());
        };
        let rule = "read /v1/machines again, and watch from its revision";
        Refusal::conflict("since", format!("changes before revision {from} are no longer known"), rule).into()
    })?;
    let lines = stream::unfold(Watching { watch, last, ended: false, _place: place }, |mut watching| async move {
        if watching.ended {
            return None;
        }
        let text = watching.next().await;
        Some((Ok::<_, Infallible>(Bytes::from(text)), watching))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

impl Watching {
    /// The next line or lines.
    async fn next(&mut self) -> String {
        match tokio::time::timeout(SIGN_OF_LIFE, self.watch.next()).await {
            Ok(Ok(event)) => {
                self.last = event.revision;
                shown(&event)
            }
            Ok(Err(_)) => {
                self.ended = true;
                format!("{{\"revision\":{},\"resync\":true}}\n", self.last)
            }
            Err(_) => "\n".to_owned(),
        }
    }
}

fn shown(event: &Event) -> String {
    let mut text = String::new();
    for change in &event.changes {
        let raw = change.value.as_deref().and_then(|value| serde_json::from_slice::<&RawValue>(value).ok());
        let serial = change.key.strip_prefix(MACHINES).unwrap_or(&change.key);
        let line = Line { revision: event.revision.0, serial, machine: raw };
        let _ = writeln!(text, "{}", serde_json::to_string(&line).unwrap_or_default());
    }
    text
}
