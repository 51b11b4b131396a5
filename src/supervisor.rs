//! What does the supervisor know?
//!
//! systemd, where a unit says `Type=notify-reload`: that we serve, that we reload, that we
//! stop, and, with `WatchdogSec`, that we are still alive. Elsewhere nobody listens, and
//! nothing is said.

use std::time::Duration;

use sd_notify::{NotifyState, notify};
use tokio::time::interval;

/// We serve, with the config as it is now.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// We reload; until we are ready again, the config is the old one.
pub fn reloading() {
    // systemd wants to know when that began, to match it with its signal.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// We stop.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Says that we are alive, twice as often as is asked for, for ever. At once over if nobody
/// asks for it.
pub async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut pings = interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        pings.tick().await;
        say(&[NotifyState::Watchdog]);
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "the supervisor cannot be told");
    }
}
