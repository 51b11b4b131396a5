//! What if the file is moved away, or its disk is full?
//!
//! Moved or removed, it is made anew before the next lines, so that a rotation by rename
//! needs no signal; lines that are written at once stay together. While it cannot be
//! written it is tried again and again, and nobody waits for that but the thread that
//! writes: what has no room meanwhile is dropped and counted by [`Lines`](super::Lines).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A file that grows.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Tries in vain.
    failures: Counter,
    /// Whether the last try was.
    has_failed: bool,
    /// Whether lines that belong together are being written.
    is_writing: bool,
}

impl LogFile {
    /// Opens it, or makes it: to be read by its owner and its group alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(path: &Path, failures: Counter) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
            failures,
            has_failed: false,
            is_writing: false,
        })
    }

    /// Makes it anew where it is no longer in its place. If that fails, lines go on into
    /// the one that was moved: there they are not lost.
    fn follow(&mut self) -> io::Result<()> {
        let id = |file: &fs::Metadata| (file.dev(), file.ino());
        let ours = id(&self.file.metadata()?);
        if fs::metadata(&self.path).is_ok_and(|there| id(&there) == ours) {
            return Ok(());
        }
        self.file = open(&self.path)?;
        Ok(())
    }

    fn note<T>(&mut self, tried: io::Result<T>) -> Option<T> {
        let path = self.path.display();
        match tried {
            Ok(done) => {
                if self.has_failed {
                    tracing::info!(%path, "the file can be written again");
                }
                self.has_failed = false;
                Some(done)
            }
            Err(error) => {
                self.failures.inc();
                if !self.has_failed {
                    tracing::error!(%path, %error, "the file cannot be written; it is tried again");
                }
                self.has_failed = true;
                None
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

impl Write for LogFile {
    /// Never fails: comes back when something is written.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.is_writing {
            let followed = self.follow();
            self.note(followed);
            self.is_writing = true;
        }
        loop {
            let written = match self.file.write(lines) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                written => written,
            };
            if let Some(count) = self.note(written) {
                return Ok(count);
            }
            thread::sleep(PAUSE);
        }
    }

    /// What is written after this does not belong to what was written before.
    fn flush(&mut self) -> io::Result<()> {
        self.is_writing = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_that_was_moved_is_made_anew_between_two_writes() {
        let folder = TempDir::new().unwrap();
        let [path, moved] = ["audit.jsonl", "audit.jsonl.1"].map(|name| folder.path().join(name));
        fs::write(&path, "before\n").unwrap();
        let mut file = LogFile::open(&path, Counter::default()).unwrap();

        file.write_all(b"first\nsec").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"ond\n").unwrap();
        file.flush().unwrap();
        file.write_all(b"third\n").unwrap();

        assert_eq!(
            fs::read_to_string(&moved).unwrap(),
            "before\nfirst\nsecond\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
    }

    #[test]
    fn a_file_that_cannot_be_made_anew_loses_no_line() {
        let folder = TempDir::new().unwrap();
        let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        let failures = Counter::default();
        let mut file = LogFile::open(&inside.join("audit.jsonl"), failures.clone()).unwrap();

        fs::rename(&inside, &outside).unwrap();
        file.write_all(b"first\n").unwrap();

        let written = fs::read_to_string(outside.join("audit.jsonl")).unwrap();
        assert_eq!(written, "first\n");
        assert_eq!(failures.get(), 1);
    }
}
