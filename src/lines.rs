//! How does a line get from a request to where it is written?
//!
//! The request leaves it in a buffer and goes on. A thread of its own takes all that
//! waits and writes it at once: one system call for many lines, and one wake-up. A reader
//! that has stopped reading, or a disk that is full, stops only that thread; when the
//! buffer is full, lines are dropped and counted, and once it goes on the log says how many.

mod file;

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

pub use self::file::LogFile;

/// How many bytes may wait.
const MOST: usize = 4 * 1024 * 1024;
/// For how long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the process waits for a sink that takes nothing.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where lines are left.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Of what they are: for the log.
    what: &'static str,
    /// Those that found no room.
    dropped: Counter,
    state: Mutex<State>,
    /// Something waits, or it is over.
    news: Condvar,
    /// All is written.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    dropped: usize,
    is_over: bool,
    is_done: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn new(what: &'static str, dropped: Counter) -> Self {
        Self(Arc::new(Shared {
            what,
            dropped,
            state: Mutex::default(),
            news: Condvar::new(),
            done: Condvar::new(),
        }))
    }

    /// Starts the thread that writes them.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn write_to(
        sink: impl Write + Send + 'static,
        what: &'static str,
        dropped: Counter,
    ) -> io::Result<(Self, Guard)> {
        let lines = Self::new(what, dropped);
        let shared = lines.0.clone();
        thread::Builder::new()
            .name(format!("portaria-{what}"))
            .spawn(move || write_all(&shared, sink))?;
        let guard = Guard(lines.clone());
        Ok((lines, guard))
    }

    /// Leaves one, with the line break at its end.
    pub fn leave(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if MOST < state.waiting.len() + line.len() {
            state.dropped += 1;
            self.0.dropped.inc();
            return;
        }
        if state.waiting.is_empty() {
            self.0.news.notify_one();
        }
        state.waiting.extend_from_slice(line);
    }
}

/// What waits is written before this is gone.
#[derive(Debug)]
pub struct Guard(Lines);

impl Drop for Guard {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let mut state = shared.lock();
        state.is_over = true;
        shared.news.notify_one();
        let (state, _) = shared
            .done
            .wait_timeout_while(state, LAST_WAIT, |state| !state.is_done)
            .unwrap_or_else(PoisonError::into_inner);
        let is_done = state.is_done;
        drop(state);
        if !is_done {
            let what = shared.what;
            tracing::error!("the last lines of the {what} were lost: they could not be written");
        }
    }
}

fn write_all(shared: &Shared, mut sink: impl Write) {
    let mut batch = Vec::new();
    loop {
        let state = shared.lock();
        let mut state = shared
            .news
            .wait_while(state, |state| state.waiting.is_empty() && !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.is_over {
            drop(state);
            thread::sleep(GATHER);
            state = shared.lock();
        }
        mem::swap(&mut batch, &mut state.waiting);
        let (dropped, is_over) = (mem::take(&mut state.dropped), state.is_over);
        drop(state);

        // A log that cannot be written is no reason to stop, and there is nowhere to say so.
        let _ = sink.write_all(&batch).and_then(|()| sink.flush());
        batch.clear();
        if 0 < dropped {
            let what = shared.what;
            tracing::warn!(
                dropped,
                "lines of the {what} were dropped: they were not taken in time"
            );
        }
        if is_over {
            shared.lock().is_done = true;
            shared.done.notify_one();
            return;
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Lines {
    /// The subscriber writes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.leave(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn lines_are_written_in_order_and_all_of_them_at_the_end() {
        let (sender, written) = mpsc::channel();
        let (lines, guard) = Lines::write_to(Sink(sender), "log", Counter::default()).unwrap();

        for number in 0..1000 {
            (&lines)
                .write_all(format!("{number}\n").as_bytes())
                .unwrap();
        }
        drop(guard);

        let written: Vec<u8> = written.try_iter().flatten().collect();
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_has_stopped_stops_nobody() {
        let dropped = Counter::default();
        let lines = Lines::new("log", dropped.clone());
        let line = vec![b'x'; MOST / 4];

        for _ in 0..10 {
            (&lines).write_all(&line).unwrap();
        }

        let state = lines.0.lock();
        assert_eq!((state.waiting.len(), state.dropped), (MOST, 6));
        assert_eq!(dropped.get(), 6);
    }

    struct Sink(mpsc::Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
