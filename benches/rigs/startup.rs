//! How soon is it ready?
//!
//! The time from starting the process to the first 200 of `/readyz`, again and again, and
//! the size of what is started.

use std::{fs, time::Duration};

use crate::{
    gateway::Gateway,
    ledger::Ledger,
    overload::is_ready,
    report::{Report, mebibytes, milliseconds, percentile},
    upstream::{Manners, Upstream},
};

/// What half of all starts do not exceed.
const SOON: Duration = Duration::from_millis(50);

pub(crate) async fn run(count: usize, report: &mut Report) {
    let upstream = Upstream::start(Manners::Prompt, Ledger::new(1).into()).await;
    let mut took = Vec::new();
    for _ in 0..count {
        let gateway = Gateway::start(&upstream, &[]);
        is_ready(gateway.admin_address()).await.unwrap();
        took.push(gateway.age());
    }
    let binary = fs::metadata(env!("CARGO_BIN_EXE_portaria")).unwrap().len();

    report.title(format!("{count} starts"));
    report.promise(
        "median",
        milliseconds(percentile(&mut took, 50)),
        percentile(&mut took, 50) <= SOON,
        "50 ms",
    );
    report.figure("slowest", milliseconds(percentile(&mut took, 100)));
    report.figure("binary", mebibytes(usize::try_from(binary).unwrap()));
}
