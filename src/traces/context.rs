//! Whose trace does a request continue?
//!
//! The `traceparent` says so (W3C Trace Context). One that is not as the standard has it, or
//! that is there twice, counts for nothing. `tracestate` and `baggage` are not read: we
//! would only keep them, and they may hold anything.

use std::fmt;

use ::http::{HeaderMap, HeaderName};

/// The field that says it.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The bit of the flags that says that the trace is recorded.
pub(super) const SAMPLED: u8 = 1;

/// The name of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The span that a request belongs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: u64,
    pub(super) flags: u8,
}

impl Parent {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let first = values.next()?;
        values.next().is_none().then_some(())?;
        Self::parse(first.as_bytes())
    }

    /// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may have more behind a dash.
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let has_dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let is_whole = match (hexadecimal(&known[..2])?, more) {
            (0xff, _) => false,
            (_, []) => true,
            (version, more) => version != 0 && more.starts_with(b"-"),
        };
        let trace = hexadecimal(&known[3..35])?;
        let span = u64::try_from(hexadecimal(&known[36..52])?).ok()?;
        let flags = u8::try_from(hexadecimal(&known[53..])?).ok()?;
        (has_dashes && is_whole && trace != 0 && span != 0).then_some(Self {
            trace: TraceId(trace),
            span,
            flags,
        })
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// In lower case alone.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn only_what_the_standard_allows_is_continued() {
        for (text, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01what"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            (format!("00-{TRACE}-{SPAN}-0g"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}0-{SPAN}-1"), None),
            (String::new(), None),
        ] {
            let parent = Parent::parse(text.as_bytes());

            assert_eq!(parent.map(|parent| parent.is_sampled()), expected, "{text}");
            if let Some(parent) = parent {
                assert_eq!(parent.trace.to_string(), TRACE);
                assert_eq!(format!("{:016x}", parent.span), SPAN);
            }
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        let value = format!("00-{TRACE}-{SPAN}-01");
        headers.append(TRACEPARENT, value.parse().unwrap());
        assert!(Parent::of(&headers).is_some());

        headers.append(TRACEPARENT, value.parse().unwrap());

        assert_eq!(Parent::of(&headers), None);
    }
}
