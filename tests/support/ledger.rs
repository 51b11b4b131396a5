//! What arrived at the upstream?
//!
//! Everything is read off the bytes of each connection, whatever the script did
//! with them. A request of which only one byte arrived is in the ledger too: it
//! was sent, and a server may have acted on it.

use std::{fmt::Write, sync::Arc};

use tokio::sync::watch;

use super::{
    strict::{self, Received},
    within,
};

/// What arrived at an upstream. Clones are the same ledger, and outlive the upstream.
#[derive(Clone)]
pub struct Ledger(Arc<watch::Sender<Book>>);

#[derive(Default)]
struct Book {
    connections: Vec<Connection>,
    /// The complete requests of all connections, in the order they were completed.
    complete: Vec<Received>,
}

#[derive(Default)]
struct Connection {
    /// Bytes that arrived, all in all.
    received: usize,
    /// Those that belong to no complete request yet.
    unfinished: Vec<u8>,
    is_closed_by_peer: bool,
}

/// For tests.
impl Ledger {
    /// Every request: the complete ones in the order they were completed, then
    /// those that were cut or are still on their way.
    pub fn requests(&self) -> Vec<Received> {
        self.0.borrow().requests()
    }

    /// The one request that arrived. Panics unless there is exactly one, complete
    /// and clean, on however many connections.
    #[track_caller]
    pub fn only_request(&self) -> Received {
        self.assert_clean();
        match &self.requests()[..] {
            [only] if only.is_complete => only.clone(),
            _ => panic!("not exactly one complete request\n{}", self.report()),
        }
    }

    /// How often exactly this body arrived, whole.
    pub fn deliveries_of(&self, body: &[u8]) -> usize {
        let book = self.0.borrow();
        book.complete
            .iter()
            .filter(|request| request.body == body)
            .count()
    }

    /// Panics if no byte should have arrived and one did.
    #[track_caller]
    pub fn assert_nothing_sent(&self) {
        assert!(
            self.requests().is_empty(),
            "something was sent\n{}",
            self.report()
        );
    }

    /// Panics if a strict server would have refused one of the requests.
    #[track_caller]
    pub fn assert_clean(&self) {
        let is_clean = self
            .requests()
            .iter()
            .all(|request| request.violations.is_empty());
        assert!(
            is_clean,
            "a strict server would refuse this\n{}",
            self.report()
        );
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.0.borrow().connections.len()
    }

    /// How many bytes arrived on a connection, counted from 0.
    pub fn received(&self, connection: usize) -> usize {
        self.0.borrow().connections[connection].received
    }

    /// Waits until `count` requests are complete; returns all requests.
    pub async fn await_requests(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} complete requests");
        self.wait_until(&what, |book| book.complete.len() >= count)
            .await;
        self.requests()
    }

    /// Waits until `count` connections were opened.
    pub async fn await_connections(&self, count: usize) {
        let what = format!("{count} connections");
        self.wait_until(&what, |book| book.connections.len() >= count)
            .await;
    }

    /// Waits until the other side has closed this connection, counted from 0. Only
    /// a step that reads can notice: [`Hang`](super::Step::Hang), for instance.
    pub async fn await_closed(&self, connection: usize) {
        let what = format!("the end of connection {connection}");
        let is_closed = |book: &Book| {
            book.connections
                .get(connection)
                .is_some_and(|connection| connection.is_closed_by_peer)
        };
        self.wait_until(&what, is_closed).await;
    }

    /// Everything that arrived, for people. Without header values: one of them is
    /// the token.
    pub fn report(&self) -> String {
        let book = self.0.borrow();
        let mut report = format!("{} connections", book.connections.len());
        for request in book.requests() {
            let Received {
                connection,
                method,
                target,
                body,
                violations,
                ..
            } = &request;
            let state = if request.is_complete {
                "complete"
            } else {
                "CUT"
            };
            let length = body.len();
            write!(
                report,
                "\n  [{connection}] {method} {target}, {length} bytes of body, {state}"
            )
            .unwrap();
            for violation in violations {
                write!(report, "\n      {violation}").unwrap();
            }
        }
        report
    }

    async fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Book) -> bool) {
        let mut changes = self.0.subscribe();
        let arrived = async { changes.wait_for(|book| is_so(book)).await.map(drop) };
        match tokio::time::timeout(super::PATIENCE, arrived).await {
            Ok(result) => result.unwrap(),
            Err(_) => panic!("waited in vain for {what}\n{}", self.report()),
        }
    }
}

/// For the upstream.
impl Ledger {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Notes a new connection; returns its number.
    pub(super) fn open(&self) -> usize {
        self.0
            .send_modify(|book| book.connections.push(Connection::default()));
        self.connections() - 1
    }

    pub(super) fn note_bytes(&self, connection: usize, bytes: &[u8]) {
        self.0.send_modify(|book| book.add(connection, bytes));
    }

    pub(super) fn note_close(&self, connection: usize) {
        self.0
            .send_modify(|book| book.connections[connection].is_closed_by_peer = true);
    }

    /// The number, among all complete requests, of a connection's `nth` one.
    pub(super) fn number_of(&self, connection: usize, nth: usize) -> Option<usize> {
        let book = self.0.borrow();
        let all = book.complete.iter().enumerate();
        let mut here = all.filter(|(_, request)| request.connection == connection);
        here.nth(nth).map(|(number, _)| number)
    }

    /// Whether the head of a connection's `nth` request is there.
    pub(super) fn has_head(&self, connection: usize, nth: usize) -> bool {
        self.number_of(connection, nth).is_some()
            || strict::head_length(&self.0.borrow().connections[connection].unfinished).is_some()
    }
}

impl Book {
    fn add(&mut self, number: usize, bytes: &[u8]) {
        let connection = &mut self.connections[number];
        connection.received += bytes.len();
        connection.unfinished.extend_from_slice(bytes);
        while let Some((mut request, length)) = strict::first_request(&connection.unfinished)
            && request.is_complete
        {
            request.connection = number;
            self.complete.push(request);
            connection.unfinished.drain(..length);
        }
    }

    fn requests(&self) -> Vec<Received> {
        let unfinished = self
            .connections
            .iter()
            .enumerate()
            .filter_map(|(number, connection)| {
                let (mut request, _) = strict::first_request(&connection.unfinished)?;
                request.connection = number;
                Some(request)
            });
        self.complete.iter().cloned().chain(unfinished).collect()
    }
}
