//! How is a value written?
//!
//! Durations, sizes, rates, addresses, file modes and times of the config file: each has one
//! textual form, and with it one parser, one `Display` and one JSON Schema.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::Error as _};
use toml::value::{Datetime, Offset};

/// Why a text is not a value of some kind. It never holds the text, which may be a
/// secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}: {hint}")]
pub struct Misread {
    /// What is wrong, as the predicate of a sentence: `is no duration`.
    pub problem: &'static str,
    /// What to write instead.
    pub hint: &'static str,
}

/// A kind of text, as the JSON Schema's `format` names it.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) check: fn(&str) -> Result<(), Misread>,
}

/// Gives a type its textual form: what `FromStr` reads and `Display` writes.
macro_rules! written_as_text {
    ($($type:ident: $format:expr, like $example:literal, by $pattern:literal;)+) => {
        $(
            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                }
            }

            impl Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl schemars::JsonSchema for $type {
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    schemars::json_schema!({
                        "type": "string",
                        "format": $format,
                        "pattern": $pattern,
                        "examples": [$example],
                    })
                }
            }
        )+

        /// Every kind of text that has a form.
        pub(super) const FORMS: &[Form] = &[$(Form {
            name: $format,
            check: |text| text.parse::<$type>().map(|_| ()),
        }),+];
    };
}

/// The form of a [`Source`].
pub(super) const SOURCE: &str = "portaria-source";
/// The form of a [`Timestamp`].
pub(super) const TIMESTAMP: &str = "portaria-timestamp";

written_as_text! {
    Period: "portaria-duration", like "30s", by "^[0-9]+ ?(ms|s|min|h|d)$";
    Size: "portaria-size", like "64 KiB", by "^[0-9]+ ?(B|KiB|MiB|GiB)$";
    Rate: "portaria-rate", like "20/s", by "^[0-9]+/(s|min|h)$";
    Source: SOURCE, like "file:/run/secrets/wegly-token", by "^(file:/|env:[A-Za-z_])";
    Address: "portaria-address", like "127.0.0.1:8080", by "^(unix:/|systemd:|[0-9]|\\[)";
    RecordStore: "portaria-record-store", like "file:/var/lib/portaria/sent.redb", by "^(local$|redis$|file:.)";
    FileMode: "portaria-file-mode", like "0660", by "^0[0-7]{3}$";
    Timestamp: TIMESTAMP, like "2026-11-01T00:00:00Z", by "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]";
}

/// A time span: `"250ms"`, `"30s"`, `"5min"`. Never zero, at most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl Period {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("min", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];

    /// So many milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// So many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

impl FromStr for Period {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        const HINT: &str = r#"write "250ms", "30s" or "5min""#;
        // Timers add a period to now, and some of them panic on an overflow.
        const YEAR: u64 = 366 * 86_400_000;

        match count_and_unit(text, &Self::UNITS) {
            Some(0) => Err(Misread {
                problem: "is no time at all",
                hint: r#"the shortest duration is "1ms""#,
            }),
            Some(millis) if millis <= YEAR => Ok(Self(Duration::from_millis(millis))),
            Some(_) => Err(Misread {
                problem: "is longer than a year",
                hint: HINT,
            }),
            None => Err(Misread {
                problem: "is no duration",
                hint: HINT,
            }),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, size) = largest_unit(millis, &Self::UNITS);
        write!(f, "{}{unit}", millis / size)
    }
}

/// A number of bytes: `"512 B"`, `"64 KiB"`, `"1 MiB"`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl Size {
    // No `KB`: for some it is 1,000 bytes, for others 1,024.
    const UNITS: [(&str, u64); 4] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];

    /// So many times 1,024 bytes.
    pub const fn kib(count: usize) -> Self {
        Self(count * 1024)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(count: usize) -> Self {
        Self(count * 1024 * 1024)
    }
}

impl FromStr for Size {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        match count_and_unit(text, &Self::UNITS).map(usize::try_from) {
            Some(Ok(0)) => Err(Misread {
                problem: "is no room at all",
                hint: r#"the smallest size is "1 B""#,
            }),
            Some(Ok(bytes)) => Ok(Self(bytes)),
            Some(Err(_)) | None => Err(Misread {
                problem: "is no size",
                hint: r#"write "512 B", "64 KiB" or "1 MiB""#,
            }),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = largest_unit(self.0 as u64, &Self::UNITS);
        write!(f, "{} {unit}", self.0 as u64 / size)
    }
}

/// A number per time: `"20/s"`, `"600/min"`, `"1000/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    const TIMES: [(&str, u64); 3] = [("h", 3600), ("min", 60), ("s", 1)];
}

impl FromStr for Rate {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let misread = Misread {
            problem: "is no rate",
            hint: r#"write "20/s", "600/min" or "1000/h", from 1 up"#,
        };
        let (count, time) = text.split_once('/').ok_or(misread)?;
        let (_, seconds) = Self::TIMES
            .into_iter()
            .find(|(unit, _)| *unit == time)
            .ok_or(misread)?;
        let count = whole(count).and_then(|count| u32::try_from(count).ok());
        Ok(Self {
            count: count.and_then(NonZeroU32::new).ok_or(misread)?,
            per: Duration::from_secs(seconds),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, _) = largest_unit(self.per.as_secs(), &Self::TIMES);
        write!(f, "{}/{unit}", self.count)
    }
}

/// A rate, and how many may come at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The sustained rate: `"20/s"`, `"600/min"` or `"1000/h"`.
    pub rate: Rate,
    /// How many may come at once, after a pause.
    pub burst: NonZeroU32,
}

impl Limit {
    pub(super) fn per_second(count: u32, burst: u32) -> Self {
        Self::per(Duration::from_secs(1), count, burst)
    }

    pub(super) fn per_minute(count: u32, burst: u32) -> Self {
        Self::per(Duration::from_secs(60), count, burst)
    }

    /// The part of one of several gateways that share it. All parts together are no more
    /// than the whole, unless there are more gateways than fit into its burst.
    #[must_use]
    pub fn part_of(self, gateways: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(self.burst.get() / gateways);
        Self {
            rate: Rate {
                per: self.rate.per * gateways.get(),
                ..self.rate
            },
            burst: burst.unwrap_or(NonZeroU32::MIN),
        }
    }

    fn per(per: Duration, count: u32, burst: u32) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            rate: Rate {
                count: at_least_one(count),
                per,
            },
            burst: at_least_one(burst),
        }
    }
}

/// Where a secret is. Never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `"file:/path"`.
    File(PathBuf),
    /// `"env:NAME"`.
    Env(String),
}

impl FromStr for Source {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        if let Some(path) = text.strip_prefix("file:") {
            if !is_path(path) {
                return Err(Misread {
                    problem: "is no absolute path",
                    hint: r#"write "file:/path", beginning with a slash"#,
                });
            }
            return Ok(Self::File(path.into()));
        }
        if let Some(name) = text.strip_prefix("env:") {
            let is_name = name
                .starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return Err(Misread {
                    problem: "is no name of an environment variable",
                    hint: r#"write "env:NAME", of letters, digits and `_`"#,
                });
            }
            return Ok(Self::Env(name.to_owned()));
        }
        Err(Misread {
            problem: "does not say where it is",
            hint: r#"write "file:/path" or "env:NAME"; a secret itself has no place in the config"#,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// Where it is remembered which messages were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordStore {
    /// `"local"`: in the memory of this process.
    Local,
    /// `"file:PATH"`.
    File(PathBuf),
    /// `"redis"`: in Redis, for several gateways together.
    Redis,
}

impl FromStr for RecordStore {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        match text {
            "local" => return Ok(Self::Local),
            "redis" => return Ok(Self::Redis),
            _ => {}
        }
        let path = text.strip_prefix("file:").filter(|path| !path.is_empty());
        if let Some(path) = path {
            return Ok(Self::File(path.into()));
        }
        Err(Misread {
            problem: "is no store",
            hint: if strsim::damerau_levenshtein(text, "local") <= 2 {
                r#"did you mean "local"?"#
            } else if strsim::damerau_levenshtein(text, "redis") <= 2 {
                r#"did you mean "redis"?"#
            } else {
                r#"write "local", "redis" or "file:/path""#
            },
        })
    }
}

impl fmt::Display for RecordStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Redis => f.write_str("redis"),
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `"127.0.0.1:8080"`.
    Tcp(SocketAddr),
    /// `"unix:/path"`.
    Unix(PathBuf),
    /// `"systemd:NAME"`: what was passed under that name.
    Systemd(String),
}

impl FromStr for Address {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        // What fits into Linux' `sockaddr_un`, with the NUL at its end.
        const LONGEST_SOCKET: usize = 107;

        if let Some(path) = text.strip_prefix("unix:") {
            if !is_path(path) || path.len() > LONGEST_SOCKET {
                return Err(Misread {
                    problem: "is no path of a socket",
                    hint: r#"write "unix:/path", beginning with a slash, of 107 bytes at most"#,
                });
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let is_plain = |c: char| c.is_ascii_graphic() && c != ':';
            if name.is_empty() || !name.chars().all(is_plain) {
                return Err(Misread {
                    problem: "is no name of a socket",
                    hint: r#"write "systemd:portaria.socket", or what the unit has as FileDescriptorName"#,
                });
            }
            return Ok(Self::Systemd(name.to_owned()));
        }
        text.parse().map(Self::Tcp).map_err(|_| Misread {
            problem: "is no address",
            hint: r#"write "127.0.0.1:8080", "[::1]:8080" or "unix:/path"; a name will not do"#,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// Who may read and write a file, in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let digits = text.strip_prefix('0').filter(|digits| digits.len() == 3);
        let is_octal = |digits: &&str| digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        digits
            .filter(is_octal)
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
            .map(Self)
            .ok_or(Misread {
                problem: "is no file mode",
                hint: r#"write "0660", a nought and three octal digits"#,
            })
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A moment, written as a TOML date-time with its offset: `2026-11-01T00:00:00Z`.
/// From 1970 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

impl FromStr for Timestamp {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let misread = Misread {
            problem: "is no time",
            hint: "write 2026-11-01T00:00:00Z",
        };
        let written: Datetime = text.parse().map_err(|_| misread)?;
        let offset = match (written.date, written.time, written.offset) {
            (Some(_), Some(_), Some(Offset::Z)) => 0,
            (Some(_), Some(_), Some(Offset::Custom { minutes })) => i64::from(minutes),
            (Some(_), Some(_), None) => {
                return Err(Misread {
                    problem: "does not say in which time zone",
                    hint: "end it with `Z` for UTC, or with an offset: `-03:00`",
                });
            }
            (_, _, _) => return Err(misread),
        };
        let as_if_utc = Datetime {
            offset: Some(Offset::Z),
            ..written
        };
        let as_if_utc = humantime::parse_rfc3339(&as_if_utc.to_string()).map_err(|_| misread)?;
        let offset_size = Duration::from_secs(60 * offset.unsigned_abs());
        let moment = if offset < 0 {
            as_if_utc.checked_add(offset_size)
        } else {
            as_if_utc.checked_sub(offset_size)
        };
        let is_sane = |moment: &SystemTime| *moment >= SystemTime::UNIX_EPOCH;
        moment.filter(is_sane).map(Self).ok_or(misread)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339(self.0).fmt(f)
    }
}

/// The amount in `"64 KiB"`, in the smallest of the units.
fn count_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    whole(count)?.checked_mul(*size)
}

/// Digits alone: no sign, no point, no separator.
fn whole(digits: &str) -> Option<u64> {
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| only_digits)
}

/// The unit that writes the amount without a fraction. Units are sorted, and the
/// last one always fits.
fn largest_unit<'a>(amount: u64, units: &[(&'a str, u64)]) -> (&'a str, u64) {
    let fitting = units.iter().find(|(_, size)| amount.is_multiple_of(*size));
    fitting.copied().unwrap_or(("", 1))
}

fn is_path(text: &str) -> bool {
    Path::new(text).is_absolute() && text.len() > 1 && !text.contains('\0')
}
