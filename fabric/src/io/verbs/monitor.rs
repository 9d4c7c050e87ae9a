//! `weft monitor`: lines of a watch of events, each written at once.

use super::{Form, VerbError};
use crate::api::{SCHEMA, Version};
use crate::io::client::{Client, ClientError};
use crate::news::Kind;
use crate::show;
use serde_json::Value;
use std::io::{self, Write};
use weft_bgp::time::Duration;

/// How long a daemon may be away whose stream broke off: one that becomes another program is back within a second.
const AWAY_LIMIT: Duration = Duration::from_secs(5);

/// Follows until the daemon ends, over its upgrades; who leaves before is a closed pipe, or a signal.
pub(super) fn run(client: &Client, kinds: &[Kind], form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    loop {
        let pid = client.get::<Version>("/v1/version")?.body.pid;
        let ended = follow(client, kinds, form, out);
        let Err(VerbError::Client(ClientError::Broken { .. })) = ended else {
            return ended;
        };
        // It said no end. Who is killed is another one when he comes back, and has told nobody anything meanwhile.
        if client.wait_for("/v1/version", AWAY_LIMIT, |now: &Version| now.pid == pid).is_none() {
            return ended;
        }
    }
}

fn follow(client: &Client, kinds: &[Kind], form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let target = match names.as_slice() {
        [] => "/v1/watch/events".to_owned(),
        some => format!("/v1/watch/events?kinds={}", some.join(",")),
    };
    let mut node = String::new();
    client.follow(&target, |line| {
        let value: Value = serde_json::from_str(line).map_err(io::Error::from)?;
        if let Some(schema) = value["schema"].as_str() {
            if schema != SCHEMA {
                let why = format!("the daemon speaks `{schema}` and this command `{SCHEMA}`: use that of its version");
                return Err(VerbError::Unknown(why));
            }
            node = value["node"].as_str().unwrap_or_default().to_owned();
        }
        match form {
            Form::Json => writeln!(out, "{line}")?,
            Form::Table => writeln!(out, "{}", show::monitor::line(&value))?,
        }
        Ok(out.flush()?)
    })?;
    Err(VerbError::Unknown(format!("{node}: the daemon has ended")))
}
