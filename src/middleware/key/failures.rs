//! Who tries many wrong keys?
//!
//! One bucket per address, asked only when a key has turned out to be wrong: so a right
//! key always passes, even from an address where somebody guesses. A key has 190 random
//! bits, so guessing is hopeless anyway; this keeps a broken or malicious client from
//! filling the log, and tells it to stop.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use crate::{
    config::{Limit, Rate},
    limiter::{Buckets, Empty},
};

/// The address at the other end of a connection, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

/// How many may be wrong at once, and how many in a minute after that.
const BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// So many addresses are told apart; all others share one bucket.
const MOST: usize = 10_000;

/// The addresses from which wrong keys came.
#[derive(Debug)]
pub struct Failures(Buckets<IpAddr>);

impl Default for Failures {
    fn default() -> Self {
        Self(Buckets::new(Limit {
            rate: Rate {
                count: PER_MINUTE,
                per: Duration::from_secs(60),
            },
            burst: BURST,
        }))
    }
}

impl Failures {
    /// Counts one.
    ///
    /// # Errors
    /// There were too many, and when the next one is answered as usual.
    pub fn count(&self, peer: Peer) -> Result<(), Empty> {
        // Over a unix socket everybody has the same address, which is none.
        let Some(address) = peer.0 else {
            return Ok(());
        };
        let address = if self.0.len() < MOST {
            network(address)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        self.0.take(&address).map(drop)
    }

    /// Forgets the addresses that have been quiet.
    pub fn forget_quiet(&self) {
        self.0.forget_full();
    }
}

/// What one party can be expected to have: an IPv4 address, or 64 bits of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_may_be_wrong_now_and_then_but_not_all_the_time() {
        let failures = Failures::default();
        let peer = Peer(Some([192, 0, 2, 1].into()));
        for _ in 0..BURST.get() {
            failures.count(peer).unwrap();
        }

        let empty = failures.count(peer).unwrap_err();
        assert_eq!(empty.retry_after, Duration::from_secs(3));
        failures.count(Peer(Some([192, 0, 2, 2].into()))).unwrap();

        tokio::time::advance(empty.retry_after).await;
        failures.count(peer).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_addresses_is_bounded() {
        let failures = Failures::default();
        for address in 0..u32::try_from(MOST).unwrap() + 1000 {
            let _ = failures.count(Peer(Some(IpAddr::V4(address.into()))));
        }
        assert_eq!(failures.0.len(), MOST + 1);

        tokio::time::advance(Duration::from_secs(120)).await;
        failures.forget_quiet();
        assert_eq!(failures.0.len(), 0);
    }

    #[test]
    fn addresses_of_one_party_are_one() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let [one, other] = [one, other].map(|text| network(text.parse().unwrap()));

            assert_eq!(one == other, same, "{one} {other}");
        }
    }
}
