//! Is there enough memory?
//!
//! What clients and the upstream can make this process hold is bounded by the config: so
//! much for each connection, so much for each request in flight. Where a control group
//! allows less than all of it together, the worst hour ends with a kill instead of a
//! refusal. So an operator is told at the start, and not by that hour.

use std::{fmt, fs, path::Path};

use crate::plan::Plan;

/// The program itself: its code, its schemas, its buckets.
const BASE: u64 = 32 * 1024 * 1024;

/// A limit that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    /// Bytes that there may be.
    pub limit: u64,
    /// Bytes that could be needed.
    pub needed: u64,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needed, limit] = [self.needed, self.limit].map(|bytes| bytes.div_ceil(1024 * 1024));
        write!(
            f,
            "may need {needed} MiB of memory at worst, and the limit is {limit} MiB: \
             lower max_connections, max_in_flight or max_response"
        )
    }
}

/// Whether all that may come at once would fit into the memory of our control group.
///
/// # Errors
/// It would not.
pub fn check(plan: &Plan) -> Result<(), TooLittle> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    judge(needed(plan), limit(&own, Path::new("/sys/fs/cgroup")))
}

fn judge(needed: u64, limit: Option<u64>) -> Result<(), TooLittle> {
    match limit {
        Some(limit) if limit < needed => Err(TooLittle { limit, needed }),
        Some(_) | None => Ok(()),
    }
}

/// The most that the config lets others make us hold.
fn needed(plan: &Plan) -> u64 {
    let max_body = plan.routes.iter().map(|route| route.body.max_body).max();
    // A head in the buffers of `framing` and of hyper, each of twice the size.
    let connections = plan.max_connections.saturating_mul(4 * plan.front.max_head);
    // A message as it came, parsed, and on its way; an answer as it comes, and whole.
    let exchange = 3 * max_body.unwrap_or_default() + 2 * plan.upstream.max_response;
    let exchanges = plan.max_in_flight.saturating_mul(exchange);
    BASE.saturating_add(connections.saturating_add(exchanges) as u64)
}

/// The lowest limit on the way from a process's own group up to the root. `own` is its
/// `/proc/self/cgroup`.
fn limit(own: &str, root: &Path) -> Option<u64> {
    // Version 2; of version 1, systems of today have at most remains.
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
    let groups = group
        .ancestors()
        .take_while(|group| group.starts_with(root));
    // "max" is no number, and no limit.
    let limit = |group: &Path| {
        fs::read_to_string(group.join("memory.max"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    groups.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_lowest_limit_up_to_the_root_holds() {
        let root = TempDir::new().unwrap();
        let group = root.path().join("system.slice/portaria.service");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("system.slice/memory.max"), "1000\n").unwrap();
        fs::write(root.path().join("memory.max"), "2000\n").unwrap();

        for (own, expected) in [
            ("0::/system.slice/portaria.service\n", Some(1000)),
            ("1:cpu:/\n0::/\n", Some(2000)),
            ("0::/elsewhere\n", Some(2000)),
            ("4:memory:/\n", None),
            ("", None),
        ] {
            assert_eq!(limit(own, root.path()), expected, "{own}");
        }
    }

    #[test]
    fn too_little_is_told_with_what_to_lower() {
        let mib = 1024 * 1024;

        let told = judge(300 * mib + 1, Some(64 * mib))
            .unwrap_err()
            .to_string();

        assert!(told.starts_with("may need 301 MiB of memory at worst, and the limit is 64 MiB"));
        assert_eq!(judge(64 * mib, Some(64 * mib)), Ok(()));
        assert_eq!(judge(u64::MAX, None), Ok(()));
    }
}
