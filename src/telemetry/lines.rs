//! How does a line get from a request to standard output?
//!
//! The request leaves it in a buffer and goes on. A thread of its own takes all that
//! waits and writes it at once: one system call for many lines, and one wake-up. A reader
//! that has stopped reading stops only that thread; when the buffer is full, lines are
//! dropped, and once the log goes on it says how many.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait.
const MOST: usize = 4 * 1024 * 1024;
/// For how long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end of the process waits for a reader that has stopped reading.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where lines are left.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
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
    /// Starts the thread that writes them.
    pub(super) fn write_to(sink: impl Write + Send + 'static) -> io::Result<(Self, Guard)> {
        let lines = Self::default();
        let shared = lines.0.clone();
        thread::Builder::new()
            .name("portaria-log".to_owned())
            .spawn(move || write_all(&shared, sink))?;
        let guard = Guard(lines.clone());
        Ok((lines, guard))
    }

    fn leave(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if MOST < state.waiting.len() + line.len() {
            state.dropped += 1;
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
        let _ = shared
            .done
            .wait_timeout_while(state, LAST_WAIT, |state| !state.is_done);
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
            tracing::warn!(dropped, "log lines were dropped: nobody read them in time");
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
        let (lines, guard) = Lines::write_to(Sink(sender)).unwrap();

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
        let lines = Lines::default();
        let line = vec![b'x'; MOST / 4];

        for _ in 0..10 {
            (&lines).write_all(&line).unwrap();
        }

        let state = lines.0.lock();
        assert_eq!((state.waiting.len(), state.dropped), (MOST, 6));
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
