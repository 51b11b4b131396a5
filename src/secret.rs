//! Where does a secret come from, and is it fit to be sent?
//!
//! The config names a [`Source`]; the secret itself is read here, once per start or
//! reload, and kept in a `SecretString`, which neither prints nor logs itself. No
//! error holds any part of what was read.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
};

use secrecy::{SecretString, zeroize::Zeroizing};

use crate::config::Source;

/// More than any token, and less than what would hurt.
const LARGEST: usize = 8 * 1024;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there, or not for us.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The variable is not set.
    #[error("is not set in the environment")]
    Unset,
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is no token, or more than one.
    #[error("is larger than 8 KiB")]
    TooLarge,
    /// It could not be sent in a header.
    #[error("contains a blank, a line break or another character that is not visible ASCII")]
    NotVisible,
    /// It names its scheme.
    #[error("begins with `Bearer `; write the token alone, the scheme is added when it is sent")]
    HasScheme,
}

/// Reads a secret and checks that it can be sent as a token. One line break at its
/// end is cut: editors and `echo` leave it there.
pub fn read(
    source: &Source,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<SecretString, SecretError> {
    // One byte more than is allowed, and a line break. Never the whole file: it might
    // be `/dev/zero`.
    const ROOM: usize = LARGEST + 3;

    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    match source {
        Source::File(path) => {
            let file = File::open(path).map_err(SecretError::Unreadable)?;
            let mut start = file.take(ROOM as u64);
            start
                .read_to_end(&mut text)
                .map_err(SecretError::Unreadable)?;
        }
        Source::Env(name) => *text = environment(name).ok_or(SecretError::Unset)?.into_bytes(),
    }
    let secret = match text.as_slice() {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] | line => line,
    };
    check(secret)
}

/// Whether everybody on this machine can read it. A variable nobody else can.
pub fn is_world_readable(source: &Source) -> bool {
    match source {
        Source::File(path) => {
            std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
        }
        Source::Env(_) => false,
    }
}

fn check(secret: &[u8]) -> Result<SecretString, SecretError> {
    const SCHEME: &[u8] = b"bearer ";

    if secret.is_empty() {
        return Err(SecretError::Empty);
    }
    if secret.len() > LARGEST {
        return Err(SecretError::TooLarge);
    }
    let start = secret.get(..SCHEME.len()).unwrap_or_default();
    if start.eq_ignore_ascii_case(SCHEME) {
        return Err(SecretError::HasScheme);
    }
    match std::str::from_utf8(secret) {
        Ok(text) if secret.iter().all(u8::is_ascii_graphic) => Ok(text.into()),
        Ok(_) | Err(_) => Err(SecretError::NotVisible),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_cut() {
        for written in ["abc", "abc\n", "abc\r\n"] {
            assert_eq!(from_env(written).unwrap().expose_secret(), "abc");
            assert_eq!(
                from_file(written.as_bytes()).unwrap().expose_secret(),
                "abc"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let refused = |text: &str| from_env(text).unwrap_err();

        for nothing in ["", "\n", "\r\n"] {
            assert!(matches!(refused(nothing), SecretError::Empty));
        }
        for odd in [
            "a b", " ab", "ab ", "a\tb", "a\rb", "a\nb", "ab\n\n", "ab\r", "a\0b", "a\u{7f}", "é",
        ] {
            assert!(matches!(refused(odd), SecretError::NotVisible), "{odd:?}");
        }
        for scheme in ["Bearer abc", "bearer abc\n", "BEARER "] {
            assert!(matches!(refused(scheme), SecretError::HasScheme));
        }
        assert!(matches!(
            from_file(b"\xff\xfe"),
            Err(SecretError::NotVisible)
        ));
    }

    #[test]
    fn eight_kib_pass_and_a_byte_more_does_not() {
        let largest = "a".repeat(LARGEST);

        assert!(from_env(&largest).is_ok());
        assert!(from_file(format!("{largest}\r\n").as_bytes()).is_ok());
        for too_large in [
            format!("{largest}a"),
            format!("{largest}a\r\n"),
            "a".repeat(1 << 20),
        ] {
            assert!(matches!(from_env(&too_large), Err(SecretError::TooLarge)));
            assert!(matches!(
                from_file(too_large.as_bytes()),
                Err(SecretError::TooLarge)
            ));
        }
    }

    #[test]
    fn what_is_not_there_is_said_to_be_missing() {
        let nothing = |_: &str| None;

        let file = read(&Source::File(PathBuf::from("/nowhere/token")), &nothing);
        let variable = read(&Source::Env("TOKEN".to_owned()), &nothing);

        assert!(matches!(file, Err(SecretError::Unreadable(_))));
        assert!(matches!(variable, Err(SecretError::Unset)));
    }

    #[test]
    fn no_error_and_no_debug_shows_the_secret() {
        for text in ["Canary Canary", "Canary\0", "Bearer Canary", "é Canary"] {
            let error = from_env(text).unwrap_err();

            assert!(!format!("{error} {error:?}").contains("Canary"));
        }
        assert!(!format!("{:?}", from_env("Canary").unwrap()).contains("Canary"));
    }

    #[test]
    fn a_file_for_everybody_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source::File(file.path().to_owned());
        let allow = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
        };

        allow(0o640);
        assert!(!is_world_readable(&source));
        allow(0o644);
        assert!(is_world_readable(&source));
        assert!(!is_world_readable(&Source::Env("TOKEN".to_owned())));
    }

    fn from_env(text: &str) -> Result<SecretString, SecretError> {
        let environment = |name: &str| (name == "TOKEN").then(|| text.to_owned());
        read(&Source::Env("TOKEN".to_owned()), &environment)
    }

    fn from_file(bytes: &[u8]) -> Result<SecretString, SecretError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(&Source::File(file.path().to_owned()), &|_| None)
    }
}
