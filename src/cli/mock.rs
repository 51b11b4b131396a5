//! How does one try the gateway without Wegly?

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use clap::Args;
use http::StatusCode;
use secrecy::SecretString;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{Failure, example};
use crate::mock;

/// Run a stand-in for Wegly, on this machine
///
/// Answers the endpoint for interactive messages as Wegly documents it, prints a line
/// for each request, and plays faults. It sends nothing to anybody.
#[derive(Debug, Args)]
#[command(after_help = example("portaria mock --latency 200ms --fail-rate 0.1"))]
pub(super) struct Mock {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The token that requests must carry; not a real one, please
    #[arg(long, default_value = "stand-in-token")]
    token: SecretString,
    /// The origin that requests must come from, as for a Wegly key with a domain
    #[arg(long, value_name = "ORIGIN")]
    require_origin: Option<String>,
    /// How long each answer takes: 250ms, 2s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Which share of requests fails with a 500: from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    fail_rate: f64,
    /// The status of every answer; a 2xx only of those that would succeed
    #[arg(long, value_name = "CODE", value_parser = status)]
    status: Option<StatusCode>,
    /// The Retry-After of every answer that is no success
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
}

impl Mock {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        // Before the address is printed: who has read it may stop us.
        let stop = stop_signal().map_err(Failure::internal("cannot wait for signals"))?;
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(Failure::usage(format_args!(
                "cannot listen on {}",
                self.listen
            )))?;
        let address = listener.local_addr().unwrap_or(self.listen);
        writeln!(out, "the stand-in Wegly listens on http://{address}")?;

        let (observer, mut seen) = mpsc::unbounded_channel();
        let mock = mock::Mock {
            token: self.token,
            require_origin: self.require_origin,
            latency: self.latency,
            fail_rate: self.fail_rate,
            status: self.status,
            retry_after: self.retry_after,
            observer: Some(observer),
        };
        let print = async {
            while let Some(req) = seen.recv().await {
                let (method, path, length) = (req.method(), req.uri().path(), req.body().len());
                writeln!(out, "{method} {path} ({length} bytes)")?;
            }
            Ok(())
        };
        let serve = async {
            mock::serve(listener, mock, stop).await;
            Ok(())
        };
        tokio::try_join!(serve, print).map(|_| ())
    }
}

/// Ends when somebody presses Ctrl-C or sends SIGTERM.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1"),
    }
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    match text.parse::<StatusCode>() {
        Ok(status) if (200..600).contains(&status.as_u16()) => Ok(status),
        _ => Err("a final status is a number from 200 to 599"),
    }
}
