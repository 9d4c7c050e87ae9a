//! Who may be in the middle of a TLS handshake.
//!
//! Whoever connects gets a place here at once, and a place in the server only when he is known. Places here are few, short, and of
//! nobody for long: when a source has all that one source may have, or all together are taken, the oldest handshake of that source, or
//! of the one with the most, is ended. So who never finishes his handshakes ends his own, and who comes to work, which takes
//! milliseconds, is through before it is his turn to be the oldest.
//!
//! The work itself (signatures) is done for one client at a time, a step each: however many knock, requests of those who are in wait for
//! one step at most.

use super::counts::Tls;
use crate::inventory::access::source;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Handshakes at a time: each is a socket and some kilobytes.
const HANDSHAKES_MAX: usize = 1_024;
/// Of these from one source: racks behind one address still start together.
const OF_SOURCE_MAX: usize = 256;

/// The handshakes of a server.
#[derive(Clone, Debug)]
pub(in crate::io) struct Handshakes {
    table: Arc<Mutex<Table>>,
    /// One may work at a time.
    turn: Arc<Semaphore>,
    /// The longest one.
    within: Duration,
    counts: Arc<Tls>,
}

/// A place in the table, until it is dropped.
#[derive(Debug)]
pub(in crate::io) struct Place {
    handshakes: Handshakes,
    source: IpAddr,
    id: u64,
    /// Ends when another one needs the place.
    ended: oneshot::Receiver<()>,
}

/// Why nobody came of a handshake.
#[derive(Debug, thiserror::Error)]
pub(in crate::io) enum Failed {
    /// He has no certificate that counts.
    #[error("{0:#}")]
    Refused(anyhow::Error),
    /// It took too long.
    #[error("no handshake within {} s", .0.as_secs())]
    Late(Duration),
    /// Others of his source, or all together, were too many.
    #[error("too many handshakes at a time: the oldest one made room")]
    Displaced,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    count: usize,
    /// Oldest first. A source that has none is not in it.
    sources: BTreeMap<IpAddr, VecDeque<(u64, oneshot::Sender<()>)>>,
}

impl Handshakes {
    pub(in crate::io) fn new(counts: Arc<Tls>, within: Duration) -> Self {
        Self { table: Arc::default(), turn: Arc::new(Semaphore::new(1)), within, counts }
    }

    /// A place for who connects.
    pub(in crate::io) fn enter(&self, peer: IpAddr) -> Place {
        let source = source(peer);
        let (id, ended) = self.table().enter(source);
        Place { handshakes: self.clone(), source, id, ended }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in it can be half done: it has no code that panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Does the handshake, in time and in turn.
    pub(in crate::io) async fn shake<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failed> {
        let Handshakes { counts, within, .. } = self.handshakes.clone();
        let work = tokio::time::timeout(within, in_turn(&self.handshakes.turn, work));
        let (count, done) = tokio::select! {
            biased;
            done = work => match done {
                Ok(Ok(known)) => (&counts.handshakes, Ok(known)),
                Ok(Err(error)) => (&counts.refused, Err(Failed::Refused(error))),
                Err(_) => (&counts.late, Err(Failed::Late(within))),
            },
            _ = &mut self.ended => (&counts.displaced, Err(Failed::Displaced)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        done
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.table().leave(self.source, self.id);
    }
}

impl Table {
    fn enter(&mut self, source: IpAddr) -> (u64, oneshot::Receiver<()>) {
        let own = self.sources.get(&source).map_or(0, VecDeque::len);
        if own >= OF_SOURCE_MAX {
            self.end_oldest(source);
        } else if self.count >= HANDSHAKES_MAX
            && let Some((largest, _)) = self.sources.iter().max_by_key(|(_, own)| own.len())
        {
            self.end_oldest(*largest);
        }
        let (end, ended) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        self.count += 1;
        self.sources.entry(source).or_default().push_back((id, end));
        (id, ended)
    }

    fn end_oldest(&mut self, source: IpAddr) {
        if let Some(id) = self.sources.get(&source).and_then(|own| own.front()).map(|(id, _)| *id) {
            self.leave(source, id);
        }
    }

    /// Whoever is still at it hears that his place is gone.
    fn leave(&mut self, source: IpAddr, id: u64) {
        let Some(own) = self.sources.get_mut(&source) else { return };
        if let Some(at) = own.iter().position(|(other, _)| *other == id) {
            own.remove(at);
            self.count -= 1;
        }
        if own.is_empty() {
            self.sources.remove(&source);
        }
    }
}

/// Polls the future only while it holds a turn.
async fn in_turn<T>(turn: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        // Never closed; if it were, work would go on without turns.
        let held = turn.acquire().await.ok();
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(held);
        match polled {
            Poll::Ready(done) => return done,
            Poll::Pending => Woken(false).await,
        }
    }
}

/// Waits until whatever the task has registered for wakes it.
struct Woken(bool);

impl Future for Woken {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_there(ended: &mut oneshot::Receiver<()>) -> bool {
        ended.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    #[test]
    fn a_source_with_too_many_ends_its_own_oldest() {
        let mut table = Table::default();
        let (_, mut other) = table.enter(address(2));
        let mut own: Vec<_> = (0..OF_SOURCE_MAX).map(|_| table.enter(address(1)).1).collect();
        assert!(own.iter_mut().all(is_there));
        table.enter(address(1));
        assert!(!is_there(&mut own[0]) && is_there(&mut own[1]) && is_there(&mut other));
        assert_eq!(table.count, OF_SOURCE_MAX + 1);
    }

    #[test]
    fn when_all_places_are_taken_the_greediest_makes_room() {
        let mut table = Table::default();
        let mut few: Vec<_> = (0..10).map(|_| table.enter(address(9)).1).collect();
        let mut last = 0;
        while table.count < HANDSHAKES_MAX {
            last += 1;
            let room = (HANDSHAKES_MAX - table.count).min(OF_SOURCE_MAX);
            (0..room).for_each(|_| drop(table.enter(address(last))));
        }
        for turn in 0..200 {
            let (_, mut known) = table.enter(address(100 + turn % 100));
            assert!(is_there(&mut known));
        }
        assert!(few.iter_mut().all(is_there));
        assert_eq!(table.count, HANDSHAKES_MAX);
    }

    #[test]
    fn who_leaves_is_gone_and_once_only() {
        let mut table = Table::default();
        let (id, _ended) = table.enter(address(1));
        table.leave(address(1), id);
        table.leave(address(1), id);
        assert_eq!((table.count, table.sources.len()), (0, 0));
    }

    /// Of many that want to work, one does at a time, and each gets on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_is_done_one_step_at_a_time() {
        let turn = Arc::new(Semaphore::new(1));
        let busy = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (turn, busy) = (turn.clone(), busy.clone());
            all.spawn(async move {
                let work = async {
                    for _ in 0..20 {
                        assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0);
                        busy.fetch_sub(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                    true
                };
                in_turn(&turn, work).await
            });
        }
        while let Some(ended) = all.join_next().await {
            assert!(ended.unwrap());
        }
    }
}
