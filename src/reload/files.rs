//! Did a file change?
//!
//! What counts is its content, and the system only tells when to look: it watches folders,
//! not files, because a file that is replaced (by an editor, by Kubernetes) takes its watch
//! with it. Where the system tells nothing (a network file system), a look every ten seconds
//! finds it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::shared::Digest;

/// A look without being told.
const INTERVAL: Duration = Duration::from_secs(10);
/// Whoever changes a certificate changes its key, too: so long after the last news, it is done.
const QUIET: Duration = Duration::from_millis(200);
/// So long after the first news, nobody waits for that.
const UNREST: Duration = Duration::from_secs(2);
/// Longer chains of links the system does not follow either.
const MAX_LINKS: usize = 40;

/// What was in some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Digest>);

impl Contents {
    /// Of these files, now.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(look).collect())
    }

    /// Of these as well, where they are not known yet.
    pub fn and_of(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        for file in files {
            if !self.0.contains_key(&file) {
                self.0.extend([look(file)]);
            }
        }
        self
    }

    /// The files whose content was another.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a PathBuf> {
        self.0.iter().filter_map(|(file, digest)| {
            let other = before.0.get(file)?;
            (digest != other).then_some(file)
        })
    }

    /// Whether it is still the same.
    fn is_current(&self) -> bool {
        let mut files = self.0.iter();
        files.all(|(file, digest)| read(file) == *digest)
    }

    /// The folders in which a change of one of the files can show.
    fn folders(&self) -> BTreeSet<PathBuf> {
        self.0.keys().flat_map(|file| folders_of(file)).collect()
    }
}

fn look(file: PathBuf) -> (PathBuf, Digest) {
    let digest = read(&file);
    (file, digest)
}

/// What is in it, or why that cannot be known.
fn read(file: &Path) -> Digest {
    let text = fs::metadata(file).and_then(|metadata| match metadata.is_file() {
        true => fs::read(file).map(Zeroizing::new),
        // Out of a pipe it can be read but once, and not by us.
        false => Ok(Zeroizing::default()),
    });
    match text {
        Ok(text) => Sha256::digest(text.as_slice()).into(),
        Err(error) => Sha256::digest(error.to_string()).into(),
    }
}

/// Its own folder, and that of every file that it is a link to: by the names that were
/// written, and by those that they have now.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut file = file.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        folders.extend(folder.canonicalize());
        match fs::read_link(&file) {
            Ok(target) => file = folder.join(target),
            Err(_no_link) => break,
        }
        folders.insert(folder);
    }
    folders
}

/// Looks at files again and again.
#[derive(Debug)]
pub(super) struct Watch {
    /// None: the system tells nothing.
    watcher: Option<RecommendedWatcher>,
    news: Arc<Notify>,
    interval: Duration,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self::every(INTERVAL)
    }

    fn every(interval: Duration) -> Self {
        let news = Arc::new(Notify::new());
        let watcher = watcher(news.clone());
        Self {
            watcher: watcher
                .inspect_err(|error| {
                    tracing::warn!(%error, ?interval, "changed files are found by looking alone");
                })
                .ok(),
            news,
            interval,
        }
    }

    /// Waits until one of these files has another content.
    pub(super) async fn change(&mut self, of: &Arc<Contents>) {
        loop {
            // Again each time: a folder may be another one under the same name.
            if let Some(watcher) = &mut self.watcher {
                for folder in of.folders() {
                    // One that is not there is no place where something changes.
                    let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
                }
            }
            let contents = of.clone();
            let is_current = tokio::task::spawn_blocking(move || contents.is_current()).await;
            if is_current.is_ok_and(|is_current| !is_current) {
                return;
            }
            tokio::select! {
                () = self.news.notified() => self.settle().await,
                () = sleep(self.interval) => {}
            }
        }
    }

    /// Waits until there are no more news.
    async fn settle(&self) {
        let end = Instant::now() + UNREST;
        while Instant::now() < end && timeout(QUIET, self.news.notified()).await.is_ok() {}
    }
}

fn watcher(news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no change, and we read after each.
        let is_change = !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if is_change {
            news.notify_one();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Longer than any test waits: what is found, the system has told.
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_file_that_is_written_in_place_has_changed() {
        let home = TempDir::new().unwrap();
        let file = write(&home, "file", "old");

        let changed = when_changed(&file, NEVER, || {
            write(&home, "file", "new");
        });

        assert!(changed.await);
    }

    #[tokio::test]
    async fn a_file_that_another_is_renamed_over_has_changed_each_time() {
        let home = TempDir::new().unwrap();
        let file = write(&home, "file", "old");

        for content in ["new", "newer"] {
            let changed = when_changed(&file, NEVER, || {
                fs::rename(write(&home, "file~", content), &file).unwrap();
            });

            assert!(changed.await, "{content}");
        }
    }

    #[tokio::test]
    async fn a_file_of_a_kubernetes_volume_has_changed_each_time() {
        let home = TempDir::new().unwrap();
        swap(&home, "1");
        symlink("..data/file", home.path().join("file")).unwrap();

        for content in ["2", "3"] {
            let file = home.path().join("file");
            let changed = when_changed(&file, NEVER, || swap(&home, content));

            assert!(changed.await, "{content}");
        }
    }

    #[tokio::test]
    async fn a_file_behind_a_link_to_another_folder_has_changed() {
        let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let link = home.path().join("file");
        symlink(write(&other, "file", "old"), &link).unwrap();

        let changed = when_changed(&link, NEVER, || {
            write(&other, "file", "new");
        });

        assert!(changed.await);
    }

    #[tokio::test]
    async fn a_file_that_was_not_there_has_changed_when_it_is() {
        let home = TempDir::new().unwrap();
        let file = home.path().join("file");

        let changed = when_changed(&file, NEVER, || {
            write(&home, "file", "");
        });

        assert!(changed.await);
    }

    #[tokio::test]
    async fn where_the_system_tells_nothing_a_look_finds_it() {
        let home = TempDir::new().unwrap();
        let file = write(&home, "file", "old");
        let contents = Arc::new(Contents::of([file]));
        let mut watch = Watch::every(Duration::from_millis(10));
        watch.watcher = None;

        let change = watch.change(&contents);
        write(&home, "file", "new");

        assert!(tokio::time::timeout(NEVER, change).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_read_or_written_anew_with_the_same_content_has_not_changed() {
        let home = TempDir::new().unwrap();
        let file = write(&home, "file", "same");

        let changed = when_changed(&file, Duration::from_millis(10), || {
            fs::read(&file).unwrap();
            write(&home, "file", "same");
            write(&home, "other", "");
        });

        let unchanged = tokio::time::timeout(4 * QUIET, changed).await;
        assert!(unchanged.is_err());
    }

    #[test]
    fn a_pipe_is_left_alone() {
        let (read, write) = std::io::pipe().unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));

        let contents = Contents::of([PathBuf::from(path)]);

        drop(write);
        assert_eq!(contents.0.len(), 1);
    }

    /// Whether a change of this file is noticed, after the watch has begun.
    async fn when_changed(file: &Path, interval: Duration, change: impl FnOnce()) -> bool {
        let contents = Arc::new(Contents::of([file.to_owned()]));
        let mut watch = Watch::every(interval);
        let mut noticed = std::pin::pin!(watch.change(&contents));
        // Once it waits, the folders are watched.
        let waits = tokio::time::timeout(Duration::from_millis(50), noticed.as_mut());
        assert!(waits.await.is_err());
        change();
        tokio::time::timeout(Duration::from_secs(60), noticed)
            .await
            .is_ok()
    }

    fn write(home: &TempDir, name: &str, content: &str) -> PathBuf {
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// What the kubelet does.
    fn swap(home: &TempDir, content: &str) {
        let version = format!("..{content}");
        fs::create_dir(home.path().join(&version)).unwrap();
        write(home, &format!("{version}/file"), content);
        let data = home.path().join("..data_tmp");
        symlink(version, &data).unwrap();
        fs::rename(data, home.path().join("..data")).unwrap();
    }
}
