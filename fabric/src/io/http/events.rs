//! A watch of events: what happens from now on, as lines of JSON until the client leaves. The daemon's loop hands each to a channel
//! that forgets the oldest when nobody keeps up, and never waits; a client that was too slow is told how many it lost.
//!
//! ```text
//! {"schema":"weft/v1","node":"boot1","watch":"events"}
//! {"at_ms":12003,"kind":"peers","text":"tor1: session up, AS 64600","event":"session_up",…}
//! {"lost":17,"of":"routes"}
//! ```

use super::Ask;
use super::follower::{Follower, Lines, Over};
use crate::api::{Body, Question};
use crate::news::{Kind, Line, RouteNews};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use weft_bgp::time::Duration;

/// Who follows events at a time: people who look, and a program or two. Watchers of routes have places of their own.
pub const FOLLOWERS_MAX: usize = 8;
/// Events that wait for a watcher; of everything but routes there are few.
pub const EVENTS_MAX: usize = 256;
/// Changed routes that wait for a watcher: what is more is counted, not told.
pub const ROUTES_MAX: usize = 1_024;
/// Lines that wait for a client that reads slowly.
const LINES_MAX: usize = 64;
/// How often a quiet watch gives a sign of life.
const LIFE_EVERY: Duration = Duration::from_secs(5);

/// Where the loop says what happens. A ring takes its room when somebody listens for the first time.
#[derive(Clone, Debug, Default)]
pub struct Events {
    said: Arc<OnceLock<broadcast::Sender<Arc<Line>>>>,
    routes: Arc<OnceLock<broadcast::Sender<Arc<RouteNews>>>>,
}

impl Events {
    /// Whether anybody listens: otherwise no line needs to be made.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.said.get().is_some_and(|ring| ring.receiver_count() > 0)
    }

    /// Whether anybody listens for routes.
    #[must_use]
    pub fn has_routes_watched(&self) -> bool {
        self.routes.get().is_some_and(|ring| ring.receiver_count() > 0)
    }

    /// Something happened. Never waits.
    pub fn say(&self, line: Line) {
        if let Some(ring) = self.said.get() {
            // Perhaps nobody listens any more.
            let _ = ring.send(Arc::new(line));
        }
    }

    /// A route changed. Never waits.
    pub fn say_route(&self, news: RouteNews) {
        if let Some(ring) = self.routes.get() {
            // Perhaps nobody listens any more.
            let _ = ring.send(Arc::new(news));
        }
    }

    fn said(&self) -> broadcast::Receiver<Arc<Line>> {
        self.said.get_or_init(|| broadcast::Sender::new(EVENTS_MAX)).subscribe()
    }

    fn routes(&self) -> broadcast::Receiver<Arc<RouteNews>> {
        self.routes.get_or_init(|| broadcast::Sender::new(ROUTES_MAX)).subscribe()
    }
}

/// One watcher.
pub(super) struct Watcher {
    kinds: Vec<Kind>,
    said: broadcast::Receiver<Arc<Line>>,
    /// There while routes are wanted.
    routes: Option<broadcast::Receiver<Arc<RouteNews>>>,
    /// Names of links by their indices.
    names: BTreeMap<u32, String>,
    follower: Follower,
}

/// What came.
enum Heard {
    Said(Result<Arc<Line>, RecvError>),
    Route(Result<Arc<RouteNews>, RecvError>),
    Nothing,
}

impl Watcher {
    pub(super) fn new(
        kinds: Vec<Kind>,
        events: &Events,
        asks: mpsc::Sender<Ask>,
        closing: watch::Receiver<()>,
    ) -> (Self, Lines) {
        let (follower, lines) = Follower::new(asks, closing, LINES_MAX);
        let routes = kinds.contains(&Kind::Routes).then(|| events.routes());
        let said = events.said();
        (Self { kinds, said, routes, names: BTreeMap::new(), follower }, lines)
    }

    /// Until the client leaves, reads nothing for too long, or the daemon ends.
    pub(super) async fn run(mut self) {
        self.follower.clone().until_over(self.follow()).await;
    }

    async fn follow(&mut self) -> Result<(), Over> {
        self.learn_names().await?;
        self.follower.greet("events").await?;
        let follower = self.follower.clone();
        loop {
            let heard = tokio::select! {
                // What is rare first: it must not be lost behind a table that arrives.
                biased;
                () = follower.left() => return Err(Over),
                said = self.said.recv() => Heard::Said(said),
                route = next(self.routes.as_mut()) => Heard::Route(route),
                () = tokio::time::sleep(LIFE_EVERY) => Heard::Nothing,
            };
            match heard {
                Heard::Said(Ok(line)) => self.on_said(&line).await?,
                Heard::Route(Ok(news)) => {
                    let line = news.line(|link| self.name(link.0));
                    self.follower.tell(&line).await?;
                }
                Heard::Said(Err(RecvError::Lagged(lost))) => {
                    self.follower.tell(&json!({ "lost": lost, "of": "events" })).await?
                }
                Heard::Route(Err(RecvError::Lagged(lost))) => {
                    self.follower.tell(&json!({ "lost": lost, "of": "routes" })).await?
                }
                Heard::Said(Err(RecvError::Closed)) | Heard::Route(Err(RecvError::Closed)) => return Err(Over),
                Heard::Nothing => self.follower.nudge().await?,
            }
        }
    }

    async fn on_said(&mut self, line: &Line) -> Result<(), Over> {
        if line.kind == Kind::Links && self.routes.is_some() {
            self.learn_names().await?;
        }
        if self.kinds.contains(&line.kind) { self.follower.tell(line).await } else { Ok(()) }
    }

    fn name(&self, link: u32) -> String {
        self.names.get(&link).cloned().unwrap_or_else(|| format!("interface {link}"))
    }

    async fn learn_names(&mut self) -> Result<(), Over> {
        if let Body::Interfaces(found) = self.follower.ask(Question::Interfaces).await?.body {
            self.names = found.interfaces.into_iter().map(|link| (link.index, link.name)).collect();
        }
        Ok(())
    }
}

/// The next changed route, never where nobody wants any.
async fn next(routes: Option<&mut broadcast::Receiver<Arc<RouteNews>>>) -> Result<Arc<RouteNews>, RecvError> {
    match routes {
        Some(routes) => routes.recv().await,
        None => std::future::pending().await,
    }
}
