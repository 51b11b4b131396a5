//! What does a gateway key look like?
//!
//! ```text
//! ptr_0123456789ABCDEFGHIJKLMNOPQRSTUV0FoORv
//! ╰┬─╯╰──────────────┬───────────────╯╰─┬──╯
//! prefix   32 random characters      checksum
//! ```
//!
//! The prefix lets a secret scanner find a leaked key. The checksum, CRC-32 over all
//! that precedes it, tells a typing mistake from a wrong key without a look-up; it
//! protects nothing. The random part does: at 190 bits, one round of SHA-256 is enough
//! to keep a key by, and a slow password hash would only make each request slow.

use std::{
    fmt::{self, Debug, Display, Formatter},
    hash::{Hash, Hasher},
    str::FromStr,
};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &[u8] = b"ptr_";
const RANDOM: usize = 32;
const CHECKSUM: usize = 6;
const LENGTH: usize = PREFIX.len() + RANDOM + CHECKSUM;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that was made here. The gateway itself keeps only its [`KeyHash`].
#[derive(Debug)]
pub struct GatewayKey(SecretString);

impl GatewayKey {
    /// Makes one from the system's random source.
    pub fn generate() -> Result<Self, getrandom::Error> {
        // With its full capacity at once: growing would leave pieces of the key behind.
        let mut key = String::with_capacity(LENGTH);
        key.extend(PREFIX.iter().copied().map(char::from));
        while key.len() < PREFIX.len() + RANDOM {
            let mut byte = [0];
            getrandom::fill(&mut byte)?;
            // 248 is 4 × 62: larger bytes would make the first characters likelier.
            if byte[0] < 248 {
                key.push(char::from(BASE62[usize::from(byte[0] % 62)]));
            }
        }
        key.extend(checksum(key.as_bytes()).map(char::from));
        Ok(Self(key.into()))
    }

    /// The key in clear text, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What goes into the config.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.expose())
    }
}

/// Whether this could be a key at all: its prefix, alphabet, length and checksum.
pub fn is_well_formed(presented: &str) -> bool {
    let presented = presented.as_bytes();
    presented.len() == LENGTH
        && presented.starts_with(PREFIX)
        && presented[PREFIX.len()..]
            .iter()
            .all(u8::is_ascii_alphanumeric)
        && presented.ends_with(&checksum(&presented[..LENGTH - CHECKSUM]))
}

/// CRC-32 in base 62. Six digits hold any: 62⁶ is more than 2³².
fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// By what a key is known: its SHA-256, written `sha256:` and 64 hexadecimal digits.
///
/// `==` takes the same time wherever two differ.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; 32]);

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl KeyHash {
    /// The hash of what a client presents.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented).into())
    }
}

impl Display for KeyHash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for KeyHash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Not the hash of a key. The text is not repeated: it may well be the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `sha256:` and 64 lower-case hexadecimal digits")]
pub struct MalformedHash;

impl FromStr for KeyHash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let digits = text.strip_prefix("sha256:").ok_or(MalformedHash)?;
        let (pairs, []) = digits.as_bytes().as_chunks() else {
            return Err(MalformedHash);
        };
        let mut hash = [0; 32];
        if pairs.len() != hash.len() {
            return Err(MalformedHash);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(hash))
    }
}

fn nibble(digit: u8) -> Result<u8, MalformedHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(MalformedHash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another program.
    const VECTORS: [(&str, &str); 3] = [
        (
            "ptr_0123456789ABCDEFGHIJKLMNOPQRSTUV0FoORv",
            "sha256:26b69c5e642d23b15c55f9fbb52364d10b963e15bd5a278994fc4e4321249445",
        ),
        (
            "ptr_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz344VQ2",
            "sha256:1a93c13d31f52f56e207e821637f1ff408d67b561af73d5254b1d43e03f68ec2",
        ),
        // A small checksum, with zeros in front.
        (
            "ptr_WKglxagJcKuoa5ULQs4G4gfsK1BwKEKG006aLI",
            "sha256:3471363124866ab71f0cc49638c8b40548d5d085f26e1616533a3ccf09da1237",
        ),
    ];

    #[test]
    fn known_keys_are_well_formed_and_have_known_hashes() {
        for (key, hash) in VECTORS {
            assert!(is_well_formed(key), "{key}");
            assert_eq!(KeyHash::of(key).to_string(), hash);
            assert_eq!(hash.parse(), Ok(KeyHash::of(key)));
        }
    }

    #[test]
    fn a_new_key_is_well_formed_and_new() {
        let [one, other] = [(); 2].map(|()| GatewayKey::generate().unwrap());

        assert!(is_well_formed(one.expose()), "{}", one.expose());
        assert_eq!(one.hash(), KeyHash::of(one.expose()));
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn every_single_typing_mistake_is_noticed() {
        let (key, _) = VECTORS[0];

        for place in 0..key.len() {
            for typed in (b'!'..=b'~').map(char::from) {
                let mut mistyped = key.to_owned();
                mistyped.replace_range(place..=place, typed.encode_utf8(&mut [0; 4]));

                assert_eq!(is_well_formed(&mistyped), mistyped == key, "{mistyped}");
            }
            let mut shorter = key.to_owned();
            let missed = shorter.remove(place);
            assert!(!is_well_formed(&shorter), "{shorter}");

            let mut swapped = shorter;
            swapped.insert((place + 1).min(key.len() - 1), missed);
            assert_eq!(is_well_formed(&swapped), swapped == key, "{swapped}");
        }
    }

    #[test]
    fn what_is_no_key_at_all_is_not_well_formed() {
        let (key, _) = VECTORS[0];

        for text in [
            "",
            "ptr_",
            "Bearer",
            &format!("{key} "),
            &"é".repeat(LENGTH / 2),
        ] {
            assert!(!is_well_formed(text), "{text:?}");
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let (key, hash) = VECTORS[0];

        for text in [
            "",
            "sha256:",
            key,
            &hash["sha256:".len()..],
            &hash.replace("sha256:", "SHA256:"),
            &hash.to_uppercase().replace("SHA256:", "sha256:"),
            &hash[..hash.len() - 1],
            &hash[..hash.len() - 2],
            &format!("{hash}00"),
            &format!(" {hash}"),
            &hash.replace("26", "+6"),
            &hash.replace("26", "é"),
        ] {
            assert_eq!(text.parse::<KeyHash>(), Err(MalformedHash), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_a_hash_and_hides_a_key() {
        let key = GatewayKey::generate().unwrap();

        assert!(!format!("{key:?}").contains(&key.expose()[4..12]));
        assert_eq!(format!("{:?}", key.hash()), key.hash().to_string());
    }
}
