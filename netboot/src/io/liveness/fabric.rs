//! Hears the routes of the local `weft daemon`: the watch of its API, over its unix socket, begun again whenever it ends.

use super::Watcher;
use crate::io::client::Target;
use crate::ipam::Addressing;
use crate::liveness::{Input, Path};
use http_body_util::BodyExt as _;
use hyper::Method;
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Wait before a daemon that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// The daemon gives a sign of life every 5 s: three of them missing mean that it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Octets of one line: the peers of a path are few.
const LINE_MAX: usize = 64 * 1024;
/// How often it is looked whether the address plan has other pools.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A line of the watch; each has some of these.
#[derive(Debug, Deserialize)]
struct Line {
    prefix: Option<IpNet>,
    #[serde(default)]
    from: Vec<String>,
    #[serde(default)]
    stale: bool,
    peers: Option<Peers>,
    #[serde(default)]
    synced: bool,
}

#[derive(Debug, Deserialize)]
struct Peers {
    established: usize,
}

pub(super) async fn hear(watcher: Arc<Watcher>, socket: PathBuf) {
    loop {
        let Some(within) = within(watcher.service.inventory().addressing()) else {
            watcher.hear(Input::Blind("there is no address plan".to_owned()));
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let why = match follow(&watcher, &socket, &within).await {
            Ok(()) => "the address plan changed".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        watcher.hear(Input::Blind(why));
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where machines have their addresses, by one plan or two.
fn within(plans: Option<Addressing<'_>>) -> Option<String> {
    let pools = plans?.plans().flat_map(|plan| &plan.node);
    let prefixes: BTreeSet<IpNet> = pools.map(|pool| pool.prefix).collect();
    Some(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// Until the address plan has other pools.
async fn follow(watcher: &Watcher, socket: &std::path::Path, within: &str) -> anyhow::Result<()> {
    let target = Target::Socket(socket.to_owned());
    let path = format!("/v1/watch/routes?within={within}");
    let asked = target.open(Method::GET, &path, None);
    let response = tokio::time::timeout(SILENCE_MAX, asked)
        .await?
        .map_err(|_| anyhow::anyhow!("no `weft daemon` answers on {}", socket.display()))?;
    anyhow::ensure!(response.status() == 200, "the daemon refuses the watch: status {}", response.status());
    let mut body = response.into_body();
    let mut text: Vec<u8> = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut last = tokio::time::Instant::now();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = look.tick() => {
                anyhow::ensure!(last.elapsed() < SILENCE_MAX, "the daemon says nothing any more");
                if self::within(watcher.service.inventory().addressing()).as_deref() != Some(within) {
                    return Ok(());
                }
                continue;
            }
        };
        let Some(frame) = frame else { anyhow::bail!("the daemon ended the watch") };
        last = tokio::time::Instant::now();
        if let Ok(octets) = frame.map_err(|error| anyhow::anyhow!("the daemon is gone: {error}"))?.into_data() {
            text.extend_from_slice(&octets);
        }
        while let Some(end) = text.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if line.len() > 1 {
                inputs(&line)?.into_iter().for_each(|input| watcher.hear(input));
            }
        }
        anyhow::ensure!(text.len() <= LINE_MAX, "the daemon sends a line without an end");
    }
}

/// What a line means. Only routes of single addresses are of machines.
fn inputs(line: &[u8]) -> anyhow::Result<Vec<Input>> {
    let line: Line = serde_json::from_slice(line).map_err(|error| anyhow::anyhow!("the daemon's watch: {error}"))?;
    let Line { prefix, from, stale, peers, synced } = line;
    let mut inputs = Vec::new();
    if let Some(prefix) = prefix.filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len()) {
        let address: IpAddr = prefix.addr();
        let path = (!from.is_empty()).then_some(Path { from, stale });
        inputs.push(Input::Route(address, path));
    }
    inputs.extend(peers.map(|peers| Input::Sessions(peers.established)));
    inputs.extend(synced.then_some(Input::Synced));
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines as `fabric/src/io/http/watch.rs` says them.
    #[test]
    fn lines_of_the_daemon_are_understood() {
        let read = |line: &str| inputs(line.as_bytes()).unwrap();
        assert_eq!(read(r#"{"schema":"weft/v1","node":"boot1","watch":"routes"}"#), []);
        assert_eq!(read(r#"{"peers":{"configured":2,"established":1}}"#), [Input::Sessions(1)]);
        assert_eq!(read(r#"{"synced":true}"#), [Input::Synced]);
        let address: IpAddr = "10.69.0.4".parse().unwrap();
        let path = Path { from: vec!["tor1".to_owned(), "tor2".to_owned()], stale: true };
        assert_eq!(
            read(r#"{"prefix":"10.69.0.4/32","from":["tor1","tor2"],"stale":true}"#),
            [Input::Route(address, Some(path))]
        );
        assert_eq!(read(r#"{"prefix":"10.69.0.4/32","from":[],"stale":false}"#), [Input::Route(address, None)]);
        assert_eq!(read(r#"{"prefix":"10.69.0.0/26","from":["tor1"],"stale":false}"#), []);
        assert!(inputs(b"{").is_err());
    }
}
