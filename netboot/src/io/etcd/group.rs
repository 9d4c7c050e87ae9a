//! Transactions that wait at the same time go to etcd in one request: a request costs etcd as much as a dozen writes. Each stays a
//! transaction of its own, with its conditions and its outcome; those of one request have one revision.
//!
//! Etcd looks at all conditions of a request before it writes any of it. So one that reads or writes what an earlier one of the request
//! writes goes with the next request, and the order in which they came is an order in which they happened.

use super::messages::{Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, TxnResponse};
use super::{Etcd, maybe_done, revision_of};
use crate::store::{Outcome, Revision, StoreError, TRANSACTION_BYTES_MAX, Transaction, WRITES_MAX};
use futures_util::future::join_all;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tonic::{Code, Status};

/// Requests under way: while etcd makes one durable, the other gathers what comes.
const REQUESTS_MAX: usize = 2;
/// Transactions of one request. Etcd allows 128 operations in one, and this leaves 96 for each of them.
const GROUP_MAX: usize = 32;
/// Transactions that wait: as many as are done in a fraction of the time after which who sent them asks what became of them.
const WAITING_MAX: usize = 1_024;

/// What waits for its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    transactions: VecDeque<(Transaction, Reply)>,
    requests: usize,
}

type Reply = oneshot::Sender<Result<Outcome, StoreError>>;

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes next in one request; nothing: who asked is not needed any more.
    fn next(&self) -> (Vec<Transaction>, Vec<Reply>) {
        let mut waiting = self.lock();
        let group = waiting.take_group();
        waiting.requests -= usize::from(group.0.is_empty());
        group
    }
}

impl Waiting {
    fn take_group(&mut self) -> (Vec<Transaction>, Vec<Reply>) {
        let mut group = Group::default();
        let mut taken = (Vec::new(), Vec::new());
        while let Some((transaction, reply)) = self.transactions.pop_front() {
            // Nobody waits for it: it was never sent, so it was never done.
            if reply.is_closed() {
                continue;
            }
            if !group.takes(&transaction) {
                self.transactions.push_front((transaction, reply));
                break;
            }
            taken.0.push(transaction);
            taken.1.push(reply);
        }
        taken
    }
}

/// What a request has so far.
#[derive(Debug, Default)]
struct Group {
    transactions: usize,
    octets: usize,
    written: BTreeSet<String>,
}

impl Group {
    /// Whether a transaction goes with the others; if so, it does.
    fn takes(&mut self, transaction: &Transaction) -> bool {
        let keys = transaction.compares.iter().map(|compare| &compare.key);
        let mut keys = keys.chain(transaction.writes.iter().map(|write| &write.key));
        let octets = self.octets + octets(transaction);
        let most = transaction.compares.len().max(transaction.writes.len());
        let fits = self.transactions < GROUP_MAX && most <= WRITES_MAX - GROUP_MAX && octets <= TRANSACTION_BYTES_MAX;
        if self.transactions > 0 && !(fits && keys.all(|key| !self.written.contains(key))) {
            return false;
        }
        self.transactions += if most <= WRITES_MAX - GROUP_MAX { 1 } else { GROUP_MAX };
        self.octets = octets;
        self.written.extend(transaction.writes.iter().map(|write| write.key.clone()));
        true
    }
}

fn octets(transaction: &Transaction) -> usize {
    transaction.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, |value| value.len())).sum()
}

impl Etcd {
    /// Does a transaction, with others if others wait.
    pub(super) async fn transact(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        transaction.check()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.queue.lock();
            if waiting.transactions.len() >= WAITING_MAX {
                return Err(StoreError::Unavailable(format!("etcd: {WAITING_MAX} changes wait already")));
            }
            waiting.transactions.push_back((transaction, reply));
            if waiting.requests < REQUESTS_MAX {
                waiting.requests += 1;
                tokio::spawn(self.clone().send());
            }
        }
        // The task ends without a word only if the runtime does.
        answer.await.unwrap_or_else(|_| Err(StoreError::Unknown("the request was given up".to_owned())))
    }

    /// Sends requests until nothing waits.
    async fn send(self) {
        loop {
            let (transactions, mut replies) = self.queue.next();
            if transactions.is_empty() {
                return;
            }
            let outcomes = {
                // Who stops waiting for an etcd that does not answer chooses another member by that.
                let given_up = join_all(replies.iter_mut().map(oneshot::Sender::closed));
                tokio::select! {
                    outcomes = self.transact_all(&transactions) => outcomes,
                    _ = given_up => continue,
                }
            };
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                let _ = reply.send(outcome);
            }
        }
    }

    async fn transact_all(&self, transactions: &[Transaction]) -> Vec<Result<Outcome, StoreError>> {
        match self.request(transactions).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            // One of them is refused, and nothing was written: each by itself, so that the others are not.
            Err(status) if transactions.len() > 1 && status.code() == Code::InvalidArgument => {
                let mut outcomes = Vec::new();
                for transaction in transactions {
                    let done = self.request(std::slice::from_ref(transaction)).await;
                    outcomes.push(done.map(|done| done[0]).map_err(|status| maybe_done(&status)));
                }
                outcomes
            }
            Err(status) => vec![Err(maybe_done(&status)); transactions.len()],
        }
    }

    /// One request; as many outcomes as transactions.
    async fn request(&self, transactions: &[Transaction]) -> Result<Vec<Outcome>, Status> {
        let question = match transactions {
            [one] => self.question(one),
            several => {
                let transaction = |one| RequestOp { transaction: Some(self.question(one)), ..RequestOp::default() };
                TxnRequest { compare: Vec::new(), success: several.iter().map(transaction).collect() }
            }
        };
        let answer: TxnResponse = self.ask("/etcdserverpb.KV/Txn", &question, true).await?;
        let revision = revision_of(answer.header.as_ref().map_or(0, |header| header.revision));
        outcomes(&answer, transactions.len(), revision)
    }

    fn question(&self, transaction: &Transaction) -> TxnRequest {
        let compare = transaction.compares.iter().map(|compare| Compare {
            result: Compare::EQUAL,
            target: Compare::MOD,
            key: self.key(&compare.key),
            mod_revision: Some(compare.modified.map_or(0, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX))),
        });
        let success = transaction.writes.iter().map(|write| {
            let key = self.key(&write.key);
            match &write.value {
                Some(value) => {
                    RequestOp { put: Some(PutRequest { key, value: value.to_vec() }), ..RequestOp::default() }
                }
                None => RequestOp { delete_range: Some(DeleteRangeRequest { key }), ..RequestOp::default() },
            }
        });
        TxnRequest { compare: compare.collect(), success: success.collect() }
    }
}

fn outcomes(answer: &TxnResponse, expected: usize, revision: Revision) -> Result<Vec<Outcome>, Status> {
    let outcome = |succeeded| if succeeded { Outcome::Committed(revision) } else { Outcome::Conflict };
    if expected == 1 {
        return Ok(vec![outcome(answer.succeeded)]);
    }
    let inner = answer.responses.iter().filter_map(|response| response.transaction.as_ref());
    let outcomes: Vec<_> = inner.map(|inner| outcome(inner.succeeded)).collect();
    if outcomes.len() == expected {
        Ok(outcomes)
    } else {
        Err(Status::unknown(format!("{} outcomes for {expected} transactions", outcomes.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;

    fn transaction(compares: &[&str], writes: &[&str]) -> Transaction {
        let compare = |key: &&str| crate::store::Compare { key: (*key).to_owned(), modified: None };
        let write = |key: &&str| Write { key: (*key).to_owned(), value: Some(b"x"[..].into()) };
        Transaction { compares: compares.iter().map(compare).collect(), writes: writes.iter().map(write).collect() }
    }

    fn groups(transactions: Vec<Transaction>) -> Vec<usize> {
        let mut answers = Vec::new();
        let mut waiting = Waiting::default();
        for transaction in transactions {
            let (reply, answer) = oneshot::channel();
            waiting.transactions.push_back((transaction, reply));
            answers.push(answer);
        }
        let sizes = std::iter::from_fn(|| Some(waiting.take_group().0.len()).filter(|size| *size > 0));
        sizes.collect()
    }

    /// All conditions are looked at before anything is written.
    #[test]
    fn what_reads_or_writes_what_an_earlier_one_writes_goes_with_the_next_request() {
        assert_eq!(groups(vec![transaction(&["a"], &["a"]), transaction(&["b"], &["b"])]), [2]);
        assert_eq!(groups(vec![transaction(&["a"], &["a"]), transaction(&["a"], &["b"])]), [1, 1]);
        assert_eq!(groups(vec![transaction(&[], &["a"]), transaction(&[], &["a"]), transaction(&[], &["b"])]), [1, 2]);
        // What both only read keeps none of them back, nor does what the later one writes.
        assert_eq!(groups(vec![transaction(&["p"], &["a"]), transaction(&["p"], &["b"])]), [2]);
        assert_eq!(groups(vec![transaction(&["p"], &["a"]), transaction(&[], &["p"])]), [2]);
    }

    #[test]
    fn a_request_is_no_larger_than_etcd_takes() {
        let many = |count: usize| (0..count).map(|at| transaction(&[], &[&format!("k{at}")])).collect::<Vec<_>>();
        assert_eq!(groups(many(GROUP_MAX + 1)), [GROUP_MAX, 1]);
        let keys: Vec<_> = (0..WRITES_MAX).map(|at| format!("w{at}")).collect();
        let whole = transaction(&[], &keys.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(groups([many(1), vec![whole], many(1)].concat()), [1, 1, 1]);
        let large = |key: &str| Transaction {
            writes: vec![Write { key: key.to_owned(), value: Some(vec![0; TRANSACTION_BYTES_MAX / 2].into()) }],
            ..Transaction::default()
        };
        assert_eq!(groups(vec![large("a"), large("b")]), [1, 1]);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_sent() {
        let mut waiting = Waiting::default();
        let (reply, answer) = oneshot::channel();
        waiting.transactions.push_back((transaction(&[], &["a"]), reply));
        drop(answer);
        assert!(waiting.take_group().0.is_empty() && waiting.transactions.is_empty());
    }
}
