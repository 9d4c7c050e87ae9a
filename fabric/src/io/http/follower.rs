//! What every watch has in common: whom it asks, whom it tells, and when it is over. What is watched is `watch`'s and `events`'s.

use super::{ANSWER_LIMIT, Ask, CONNECTION_LIMIT};
use crate::api::{self, Question, SCHEMA};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot, watch};

/// The body of an answer that has no end.
#[derive(Debug)]
pub(super) struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// The client left, read nothing for too long, or the daemon ends.
pub(super) struct Over;

/// A client that follows, and the loop that answers questions for it.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    asks: mpsc::Sender<Ask>,
    closing: watch::Receiver<()>,
    lines: mpsc::Sender<Bytes>,
}

impl Follower {
    /// `room`: lines that wait for a client that reads slowly.
    pub(super) fn new(asks: mpsc::Sender<Ask>, closing: watch::Receiver<()>, room: usize) -> (Self, Lines) {
        let (lines, body) = mpsc::channel(room);
        (Self { asks, closing, lines }, Lines(body))
    }

    /// Until it is over, whoever says so first.
    pub(super) async fn until_over(mut self, follow: impl Future<Output = Result<(), Over>>) {
        tokio::select! {
            _ = self.closing.changed() => {}
            _ = follow => {}
        }
    }

    /// The client left.
    pub(super) async fn left(&self) {
        self.lines.closed().await;
    }

    /// The first line.
    pub(super) async fn greet(&self, what: &str) -> Result<(), Over> {
        let node = self.ask(Question::Version).await?.node;
        self.tell(&json!({ "schema": SCHEMA, "node": node, "watch": what })).await
    }

    pub(super) async fn ask(&self, question: Question) -> Result<api::Answer, Over> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask { request: api::Request::Show(question), reply }).await.map_err(|_| Over)?;
            answer.await.map_err(|_| Over)
        };
        tokio::time::timeout(ANSWER_LIMIT, asked).await.map_err(|_| Over)?
    }

    pub(super) async fn tell(&self, line: &impl Serialize) -> Result<(), Over> {
        // Our own types always become JSON.
        let mut text = serde_json::to_vec(line).map_err(|_| Over)?;
        text.push(b'\n');
        self.send(text.into()).await
    }

    /// A sign of life.
    pub(super) async fn nudge(&self) -> Result<(), Over> {
        self.send(Bytes::from_static(b"\n")).await
    }

    /// Who reads nothing for so long is given up, as with any other answer.
    async fn send(&self, line: Bytes) -> Result<(), Over> {
        let sent = tokio::time::timeout(CONNECTION_LIMIT, self.lines.send(line)).await;
        sent.map_err(|_| Over)?.map_err(|_| Over)
    }
}
