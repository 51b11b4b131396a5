//! What does an operator put in place?
//!
//! A directory with a config and a token. What differs from test to test goes
//! by the environment (`PORTARIA__SERVER__HEAD_TIMEOUT=1s`), by an [`append`],
//! or by an [`edit`].
//!
//! [`append`]: Home::append
//! [`edit`]: Home::edit

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The upstream's token in every test. It opens nothing, and is easy to find where
/// it should not be.
pub const TOKEN: &str = "canary-token-of-the-upstream-0123456789";

/// The gateway key of an application: always the same for the same name. Made
/// without the gateway's own code, as a key that was handed out long ago.
pub fn key(name: &str) -> String {
    let random = format!("{name:0<32}").replace(|byte: char| !byte.is_ascii_alphanumeric(), "0");
    let key = format!("ptr_{random}");
    let mut sum = crc32fast::hash(key.as_bytes());
    let mut check = [b'0'; 6];
    for digit in check.iter_mut().rev() {
        *digit = BASE62[sum as usize % 62];
        sum /= 62;
    }
    key + str::from_utf8(&check).unwrap()
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A directory with all that `portaria serve` needs. Dropped, it is removed.
pub struct Home(TempDir);

impl Home {
    /// Lays out a gateway in front of this upstream: [`TOKEN`] in a file, listeners
    /// on free ports, and two applications. "billing" has a server's key, "shop" one
    /// for the pages of `shop.example.com`; [`key`] gives both.
    pub fn new(upstream_url: &str) -> Self {
        let home = Self(TempDir::new().unwrap());
        let token = home.write("wegly-token", TOKEN);
        fs::set_permissions(token, Permissions::from_mode(0o600)).unwrap();
        home.write(
            "portaria.toml",
            &config(upstream_url, &home.path("wegly-token")),
        );
        home
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.path("portaria.toml")
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Adds fields to `[server]`.
    pub fn set_up_server(&self, fields: &str) {
        self.edit(|text| text.replace("[admin]", &format!("{fields}\n\n[admin]")));
    }

    /// Lets the server speak TLS, with what [`Certificate::install`] puts in place.
    ///
    /// [`Certificate::install`]: super::Certificate::install
    pub fn speak_tls(&self) {
        self.set_up_server(&self.tls(""));
    }

    /// The same, for clients with a certificate of this authority.
    pub fn speak_mtls(&self, client_ca: &str) {
        let client_ca = self.write("clients.pem", client_ca);
        self.set_up_server(&self.tls(&format!(", client_ca = 'file:{}'", client_ca.display())));
    }

    fn tls(&self, more: &str) -> String {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!(
            "tls = {{ cert = 'file:{}', key = 'file:{}'{more} }}",
            cert.display(),
            key.display()
        )
    }

    /// Adds sections to the config.
    pub fn append(&self, sections: &str) {
        self.edit(|text| format!("{text}\n{sections}\n"));
    }

    /// Rewrites the config.
    pub fn edit(&self, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), change(&text)).unwrap();
    }
}

fn config(upstream_url: &str, token: &Path) -> String {
    let (token, billing, shop) = (token.display(), hash("billing"), hash("shop"));
    format!(
        r#"[server]
listen = ["127.0.0.1:0"]

[admin]
listen = "127.0.0.1:0"

[upstream]
url = "{upstream_url}"

[credentials.main]
token = "file:{token}"

[[keys]]
name = "billing"
hash = "{billing}"

[[keys]]
name = "shop"
hash = "{shop}"
allowed_domains = ["shop.example.com"]
"#
    )
}

/// The hash of an application's [`key`], as `[[keys]]` has it.
fn hash(name: &str) -> String {
    let digest = Sha256::digest(key(name));
    digest.iter().fold("sha256:".to_owned(), |text, byte| {
        format!("{text}{byte:02x}")
    })
}
