//! A watch of routes: what is there first, then every change, as lines of JSON until the client leaves. The daemon's loop only says
//! *that* a prefix changed, over a channel that forgets the oldest when nobody keeps up; what it is now is asked as any other question.
//! So a watcher costs the loop a few small questions, a slow one a new look at everything, and none at all nothing.
//!
//! ```text
//! {"schema":"weft/v1","node":"boot1","watch":"routes"}
//! {"peers":{"configured":2,"established":2}}
//! {"prefix":"10.69.0.4/32","from":["tor1","tor2"],"stale":false}       from: [] = it is gone
//! {"synced":true}                                                      all of it was said; from here on changes
//! ```

use super::Ask;
use super::follower::{Follower, Lines, Over};
use crate::api::{self, BgpRoute, Body, Question, Selection, Target};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{broadcast, mpsc, watch};
use weft_bgp::time::Duration;
use weft_bgp::types::IpNet;

/// Watchers at a time: a boot server has one or two programs that watch.
pub const WATCHERS_MAX: usize = 8;
/// Changes that a watcher may lag behind before it looks at everything again: a rack of machines many times over.
pub const CHANGES_MAX: usize = 4_096;
/// Lines that wait for a client that reads slowly.
const LINES_MAX: usize = 256;
/// Routes of one question to the loop: it sends no keepalive meanwhile.
const PAGE: usize = 256;
/// Changes that are looked at together.
const TOGETHER_MAX: usize = 256;
/// How often a quiet watcher gives a sign of life, and looks whether something changed of which nobody told it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the loop says to watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The routes that are used for this prefix.
    Route(IpNet),
    /// A session came, went or said that its table is whole: routes may be stale now, or no longer.
    Sessions,
}

/// What a watcher was told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    from: Vec<String>,
    stale: bool,
}

/// One watcher.
pub(super) struct Watcher {
    within: Vec<IpNet>,
    changes: broadcast::Receiver<Changed>,
    told: BTreeMap<IpNet, Told>,
    peers: Option<(usize, usize)>,
    follower: Follower,
}

impl Watcher {
    pub(super) fn new(
        within: Vec<IpNet>,
        asks: mpsc::Sender<Ask>,
        changes: broadcast::Receiver<Changed>,
        closing: watch::Receiver<()>,
    ) -> (Self, Lines) {
        let (follower, lines) = Follower::new(asks, closing, LINES_MAX);
        (Self { within, changes, told: BTreeMap::new(), peers: None, follower }, lines)
    }

    /// Until the client leaves, reads nothing for too long, or the daemon ends.
    pub(super) async fn run(mut self) {
        self.follower.clone().until_over(self.follow()).await;
    }

    async fn follow(&mut self) -> Result<(), Over> {
        self.follower.greet("routes").await?;
        self.look_at_all().await?;
        self.follower.tell(&json!({ "synced": true })).await?;
        let follower = self.follower.clone();
        loop {
            let heard = tokio::select! {
                () = follower.left() => return Err(Over),
                heard = self.changes.recv() => Some(heard),
                () = tokio::time::sleep(LOOK_EVERY) => None,
            };
            let mut dirty = BTreeSet::new();
            let all = match heard {
                Some(Ok(Changed::Route(prefix))) => self.gather(prefix, &mut dirty)?,
                Some(Ok(Changed::Sessions) | Err(broadcast::error::RecvError::Lagged(_))) => true,
                Some(Err(broadcast::error::RecvError::Closed)) => return Err(Over),
                None => {
                    self.follower.nudge().await?;
                    true
                }
            };
            if all {
                self.look_at_all().await?;
            } else {
                for prefix in dirty {
                    let found = self.routes(Selection::One(Target::Prefix(prefix))).await?;
                    self.tell(prefix, found.first()).await?;
                }
            }
        }
    }

    /// A change and those right behind it that concern this watcher; true when everything is to be looked at.
    fn gather(&mut self, first: IpNet, dirty: &mut BTreeSet<IpNet>) -> Result<bool, Over> {
        let mut next = Ok(Changed::Route(first));
        loop {
            match next {
                Ok(Changed::Route(prefix)) => {
                    if self.within.iter().any(|net| net.contains(&prefix)) {
                        dirty.insert(prefix);
                    }
                }
                Ok(Changed::Sessions) | Err(broadcast::error::TryRecvError::Lagged(_)) => return Ok(true),
                Err(broadcast::error::TryRecvError::Empty) => return Ok(false),
                Err(broadcast::error::TryRecvError::Closed) => return Err(Over),
            }
            if dirty.len() >= TOGETHER_MAX {
                return Ok(false);
            }
            next = self.changes.try_recv();
        }
    }

    /// Says what is different from what was told, of everything.
    async fn look_at_all(&mut self) -> Result<(), Over> {
        self.look_at_peers().await?;
        let mut gone: BTreeSet<IpNet> = self.told.keys().copied().collect();
        for net in self.within.clone() {
            let mut page = self.routes(Selection::One(Target::Prefix(net))).await?;
            let mut after = net;
            loop {
                for route in page.iter().filter(|route| net.contains(&route.prefix)) {
                    gone.remove(&route.prefix);
                    self.tell(route.prefix, Some(route)).await?;
                }
                page = self.routes(Selection::Page { after: Some(after), limit: PAGE }).await?;
                match page.last() {
                    // In order: what lies within the prefix stands together behind it.
                    Some(last) if page.iter().any(|route| net.contains(&route.prefix)) => after = last.prefix,
                    Some(_) | None => break,
                }
            }
        }
        for prefix in gone {
            self.tell(prefix, None).await?;
        }
        Ok(())
    }

    async fn look_at_peers(&mut self) -> Result<(), Over> {
        let Body::Neighbors(found) = self.follower.ask(Question::Neighbors).await?.body else { return Ok(()) };
        let configured = found.neighbors.len();
        let established = found.neighbors.iter().filter(|one| one.state == api::ESTABLISHED).count();
        if self.peers.replace((configured, established)) != Some((configured, established)) {
            self.follower.tell(&json!({ "peers": { "configured": configured, "established": established } })).await?;
        }
        Ok(())
    }

    /// A line for a prefix, if it is another one than the last.
    async fn tell(&mut self, prefix: IpNet, route: Option<&BgpRoute>) -> Result<(), Over> {
        let used = route.iter().flat_map(|route| &route.paths).filter(|path| path.used);
        let mut now = Told { from: Vec::new(), stale: true };
        for path in used {
            now.from.push(path.from.clone());
            now.stale &= path.stale;
        }
        now.stale &= !now.from.is_empty();
        let before = self.told.get(&prefix);
        if before == Some(&now) || (before.is_none() && now.from.is_empty()) {
            return Ok(());
        }
        self.follower.tell(&json!({ "prefix": prefix, "from": now.from, "stale": now.stale })).await?;
        if now.from.is_empty() {
            self.told.remove(&prefix);
        } else {
            self.told.insert(prefix, now);
        }
        Ok(())
    }

    async fn routes(&self, selection: Selection) -> Result<Vec<BgpRoute>, Over> {
        // The loop answers a question with its own kind of answer.
        let Body::Bgp(found) = self.follower.ask(Question::Bgp(selection)).await?.body else { return Err(Over) };
        Ok(found.routes)
    }
}
