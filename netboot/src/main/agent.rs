//! `weft-netboot agent`: what a machine runs so that boot servers know that more than its routing daemon is alive.

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use weft_netboot::io::client::Target;

/// Longest wait for one server: the others are asked at the same time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Until the process is ended. A server that is away is asked again at the next turn; one that refuses says why once.
pub(crate) async fn run(targets: &[Target], serial: &str, every: Duration) -> anyhow::Result<()> {
    let path = format!("/v1/machines/{}/alive", utf8_percent_encode(serial, NON_ALPHANUMERIC));
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut said: Vec<Option<String>> = vec![None; targets.len()];
    loop {
        turns.tick().await;
        let asked = targets.iter().map(|target| report(target, &path));
        for (at, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            let now = answer.err().map(|error| format!("{error:#}"));
            if now != said[at] {
                match &now {
                    Some(why) => eprintln!("weft-netboot: {:?}: {why}", targets[at]),
                    None => eprintln!("weft-netboot: {:?}: reports are taken", targets[at]),
                }
                said[at] = now;
            }
        }
    }
}

async fn report(target: &Target, path: &str) -> anyhow::Result<()> {
    let said = tokio::time::timeout(ANSWER_WITHIN, target.ask(Method::PUT, path, None)).await??;
    said.document().map(drop)
}
