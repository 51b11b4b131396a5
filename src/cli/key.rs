//! How does an application get a key?

use std::io::{self, BufRead, IsTerminal as _, Write};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Failure, example};
use crate::gateway_key::{self, GatewayKey, KeyHash};

/// Make and hash gateway keys
#[derive(Debug, Subcommand)]
#[command(after_help = example("portaria key new --name billing"))]
pub(super) enum Key {
    New(New),
    /// Read a key from standard input and print its hash
    #[command(after_help = example("portaria key hash < billing.key"))]
    Hash,
}

/// Make a new gateway key
///
/// Prints the key, for the application, and the `[[keys]]` entry, for the config. The
/// key is kept nowhere: this is the only time it is shown.
#[derive(Debug, Args)]
#[command(after_help = example("portaria key new --name billing"))]
pub(super) struct New {
    /// The application's name, as it will stand in logs and metrics
    #[arg(long, default_value = "my-app", value_parser = name)]
    name: String,
}

impl Key {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(out),
            Self::Hash => hash(out),
        }
    }
}

impl New {
    fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        let key = GatewayKey::generate().map_err(Failure::internal("no random numbers"))?;
        let (name, hash) = (self.name, key.hash());
        writeln!(out, "For the application; it is shown only now:\n")?;
        writeln!(out, "{}\n", key.expose())?;
        writeln!(out, "For the gateway's config:\n")?;
        writeln!(out, "[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"")?;
        Ok(())
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_good = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(is_good) {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 64 of a-z, 0-9, _ and -")
    }
}

fn hash(out: &mut impl Write) -> Result<(), Failure> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        // Or the command would seem to hang.
        let _ = write!(anstream::stderr(), "Key: ");
    }
    let key = read_line(input).map_err(Failure::usage("cannot read standard input"))?;
    if !gateway_key::is_well_formed(key.expose_secret()) {
        return Err(Failure::Usage(
            "this is no gateway key: it begins with `ptr_`, has 42 characters, and the last six \
             fit the others; look for a typing mistake"
                .to_owned(),
        ));
    }
    writeln!(out, "{}", KeyHash::of(key.expose_secret()))?;
    Ok(())
}

fn read_line(input: impl BufRead) -> io::Result<SecretString> {
    let mut line = String::with_capacity(1024);
    // More than a key can have, and less than a file given by mistake may have.
    input.take(1024).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).into())
}
