//! What is about to end?
//!
//! Tokens, gateway keys and the certificate of the listeners. Each is warned of 14, 3 and
//! 1 days before it ends, and when it has: a line each time, not every minute.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;
use tokio::{sync::watch, time::sleep};

use crate::{plan::Plan, reload::Now};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// So long before the end, from far to near.
const WARNINGS: [Duration; 4] = [
    Duration::from_secs(14 * DAY.as_secs()),
    Duration::from_secs(3 * DAY.as_secs()),
    DAY,
    Duration::ZERO,
];
/// Soon enough to see an end, and seldom enough to be nothing.
const INTERVAL: Duration = Duration::from_secs(60);

/// What ends, and when: its kind, its name, and the time. A new end is something new.
type End = (&'static str, Arc<str>, SystemTime);

/// Looks again and again at the config that serves, and warns. Goes on for ever.
pub async fn watch(config: watch::Receiver<Now>, clock: fn() -> SystemTime) {
    let mut told = Told::default();
    loop {
        let plan = config.borrow().plan.clone();
        for ((what, name, end), is_over) in told.due(ends(&plan), clock()) {
            let expires_at = format_rfc3339_seconds(end);
            if is_over {
                tracing::error!(what, name = &*name, %expires_at, "has expired");
            } else {
                tracing::warn!(what, name = &*name, %expires_at, "expires soon");
            }
        }
        drop(plan);
        sleep(INTERVAL).await;
    }
}

fn ends(plan: &Plan) -> Vec<End> {
    let tokens = plan.credentials.iter().filter_map(|credential| {
        let end = credential.expires_at()?;
        Some(("token", credential.name.clone(), end))
    });
    let keys = plan.keys.clients().filter_map(|client| {
        let end = client.expires_at.filter(|_| !client.is_disabled)?;
        Some(("key", client.name.clone(), end))
    });
    let certificate = plan.tls.iter().filter_map(|tls| {
        let end = tls.expires_at()?;
        Some(("certificate", "tls".into(), end))
    });
    tokens.chain(keys).chain(certificate).collect()
}

/// Which warnings have been given.
#[derive(Debug, Default)]
struct Told(HashMap<End, usize>);

impl Told {
    /// Those of which to warn now, and whether they are over.
    fn due(&mut self, ends: Vec<End>, now: SystemTime) -> Vec<(End, bool)> {
        let before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for end in ends {
            let left = end.2.duration_since(now).unwrap_or(Duration::ZERO);
            let count = WARNINGS.iter().filter(|warning| left <= **warning).count();
            if before.get(&end).copied().unwrap_or(0) < count {
                due.push((end.clone(), count == WARNINGS.len()));
            }
            self.0.insert(end, count);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_14_3_and_1_days_before_and_when_it_is_there_once_each() {
        let mut told = Told::default();
        let end = SystemTime::UNIX_EPOCH + 100 * DAY;
        let second = Duration::from_secs(1);
        for (now, expected) in [
            (end - 14 * DAY - second, None),
            (end - 14 * DAY, Some(false)),
            (end - 4 * DAY, None),
            (end - 3 * DAY, Some(false)),
            (end - DAY, Some(false)),
            (end - second, None),
            (end, Some(true)),
            (end + DAY, None),
        ] {
            let due = told.due(vec![("key", "billing".into(), end)], now);

            let is_over = due.first().map(|(_, is_over)| *is_over);
            assert_eq!((is_over, due.len() <= 1), (expected, true), "{now:?}");
        }
    }

    #[test]
    fn what_is_found_late_is_told_once_and_what_is_renewed_is_something_new() {
        let mut told = Told::default();
        let now = SystemTime::UNIX_EPOCH + 100 * DAY;
        let token = |end| vec![("token", Arc::from("main"), end)];

        assert_eq!(told.due(token(now + 2 * DAY), now).len(), 1);
        assert_eq!(told.due(token(now + 2 * DAY), now).len(), 0);
        assert_eq!(told.due(token(now + 300 * DAY), now).len(), 0);
        assert_eq!(told.due(token(now + 2 * DAY), now).len(), 1);
    }
}
