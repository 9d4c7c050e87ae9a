//! Who has something to read: after every input the driver is told of each peer, and of the kernel, once until it has looked.

use super::Output;
use super::machine::Speaker;
use crate::time::Instant;
use crate::types::PeerId;

impl Speaker {
    /// After every input: who has something to read, and whether the kernel has. Each is told once until it has looked.
    pub(super) fn after(&mut self, now: Instant) {
        if !self.is_deferring() {
            self.skip_kernel();
        }
        let readable = self.readable();
        if self.converged {
            let everybody = std::mem::take(&mut self.has_news) || self.offered != readable;
            self.offered = readable;
            let mut news = std::mem::take(&mut self.news);
            if everybody {
                news.append(&mut self.idle);
            }
            for id in news {
                self.offer(now, id, readable);
            }
        }
        if self.fib_cursor < self.table.log_end() && !self.fib_signalled && !self.is_deferring() {
            self.fib_signalled = true;
            self.output.push_back(Output::FibReady);
        }
    }

    /// Tells the driver of a peer that has something to read.
    fn offer(&mut self, now: Instant, id: PeerId, readable: u64) {
        self.idle.remove(&id);
        let Some(member) = self.members.get_mut(&id).filter(|member| !member.out.signalled) else {
            return;
        };
        let Some(session) = member.peer.session() else {
            return;
        };
        if member.out.is_behind(readable) {
            member.out.signalled = true;
            self.output.push_back(Output::Writable(session.conn));
            member.peer.wait_for_room(now);
        } else {
            self.idle.insert(id);
        }
    }

    /// Forgets the part of the log that everybody has read.
    pub(super) fn trim(&mut self) {
        self.untrimmed = 0;
        if self.table.log_start() == self.table.log_end() && self.keeps_no_batch() {
            return;
        }
        let observed = self.monitor_cursor();
        let established = self.members.values().filter(|member| member.peer.session().is_some());
        // A session that comes up now reads from where the kernel is done, not from where it was asked.
        let ours = [self.fib_done, self.aggregates.cursor()];
        let least = established.map(|member| member.out.cursor).chain(ours).chain(observed).min();
        self.table.trim(least.unwrap_or(self.fib_done));
        self.trim_batches();
    }
}
