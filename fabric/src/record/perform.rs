//! The other way round: from the lines of a recording to a node that goes through the same.

use super::{Answer, Begin, Call, Sent, Written};
use crate::config::{self, NodeConfig};
use crate::node::{Input, Node};
use bytes::BytesMut;
use weft_bgp::speaker::{self, Progress};

/// The node with which a recording begins.
///
/// # Errors
/// When this program refuses its configuration.
pub fn begin(begin: &Begin) -> Result<Node, String> {
    let mut config = node_config(&begin.config)?;
    config.speaker.seed = begin.seed;
    config.speaker.restarting = begin.restarting;
    Ok(Node::new(config, begin.at))
}

fn node_config(written: &Written) -> Result<NodeConfig, String> {
    let mut config = config::parse(&written.file, &written.text).map_err(|error| error.to_string())?;
    config.hostname = Some(written.hostname.clone());
    config.node().map_err(|error| error.to_string())
}

/// Does to a node what was done to the recorded one.
///
/// # Errors
/// When this program refuses a configuration.
pub fn perform(node: &mut Node, call: &Call) -> Result<Answer, String> {
    match call {
        Call::Handle { at, input } => node.handle(*at, (**input).clone()),
        Call::Received { at, conn, octets } => {
            node.handle(*at, Input::Bgp(speaker::Input::Received { conn: *conn, data: octets.0.clone() }));
        }
        Call::Reload { at, to, within } => {
            let to = Box::new(node_config(to)?);
            node.handle(*at, within.map_or_else(|| Input::Reload(to.clone()), |within| Input::Try(to.clone(), within)));
        }
        Call::RollBack { at } => {
            let earlier = node.take_earlier().ok_or("nothing waits to be taken back")?;
            node.handle(*at, Input::RollBack(earlier));
        }
        Call::ResumeDrains { at, kept } => node.resume_drains(*at, kept),
        Call::ResumeVips { kept } => node.resume_vips(kept.clone()),
        Call::SetCaches { at } => node.set_caches(*at),
        Call::CacheConnected { at, cache } => node.cache_connected(*at, *cache),
        Call::CacheReceived { at, cache, octets } => node.cache_received(*at, *cache, &octets.0),
        Call::OpenMonitor { at, id, config } => node.open_monitor(*at, *id, config.clone()),
        Call::CloseMonitor { id } => node.close_monitor(*id),
        Call::Poll => return Ok(node.poll().map_or(Answer::Nothing, Answer::Output)),
        Call::Caller { at, remote } => return Ok(Answer::Caller(node.caller(*at, *remote))),
        Call::Control { .. } | Call::Transmit { .. } | Call::PollMonitor { .. } | Call::PollCache { .. } => {
            return Ok(octets(node, call));
        }
        Call::Fib { max } => return Ok(Answer::Fib(node.poll_fib(*max))),
        Call::Lease { at, lease } => return Ok(Answer::Done(node.lease(*at, (**lease).clone()).is_ok())),
        Call::Release { at, owner, prefix } => return Ok(Answer::Done(node.release(*at, owner, prefix).is_ok())),
        Call::ReleaseAll { at, owner } => return Ok(Answer::Count(node.release_all(*at, owner))),
        Call::ResumeCache { at, cache, kept, octets } => {
            return Ok(Answer::Done(node.resume_cache(*at, *cache, kept, &octets.0).is_ok()));
        }
        Call::CacheDisconnected { cache, error } => return Ok(Answer::Wait(node.cache_disconnected(*cache, error))),
    }
    Ok(Answer::Nothing)
}

/// What is asked for octets.
fn octets(node: &mut Node, call: &Call) -> Answer {
    let mut buf = BytesMut::new();
    let mut more = false;
    if let Call::Transmit { at, conn, limit } = call {
        more = node.poll_transmit(*at, *conn, &mut buf, *limit);
    } else if let Call::PollMonitor { at, id, limit } = call {
        more = node.poll_monitor(*at, *id, &mut buf, *limit) == Progress::More;
    } else if let Call::PollCache { cache } = call {
        (buf, more) = node.poll_cache(*cache);
    } else if let Call::Control { at, conn } = call {
        node.poll_control(*at, *conn, &mut buf);
    }
    Answer::Sent(Sent::of(&buf), more)
}
