//! With which certificate does it answer?
//!
//! With the one in its files, as they were at the last [reload](crate::reload): connections
//! that are open keep what they began with, new ones get the new certificate. While the
//! files stay the same so does all that is made of them, and sessions can be resumed.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, Error, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::shared::{Digest, Kept};

/// More than any chain or bundle of authorities.
const LARGEST: u64 = 4 * 1024 * 1024;
/// What ALPN offers, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
pub(super) const HTTP_2: &[u8] = b"h2";

/// Where certificates are, in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, and those between it and an authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of which a client needs a certificate. None: a client needs none.
    pub client_ca: Option<PathBuf>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Which of [`Files`].
    pub field: &'static str,
    /// What an operator is told. Nothing of the key is in it.
    pub message: String,
}

/// What a listener speaks TLS with.
pub struct Tls {
    config: Arc<ServerConfig>,
    expires_at: Option<SystemTime>,
}

impl Tls {
    /// Reads and judges the files. What is in them may be known already.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(files: &Files, kept: &Kept) -> Result<Arc<Self>, Vec<Fault>> {
        let content = Content::read(files);
        kept.tls(content.digest(), || content.judge(files))
    }

    /// Until when the certificate, and all that it comes with, is valid.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Shakes hands.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What the files hold, or why they cannot be read.
struct Content {
    cert: Result<Text, io::Error>,
    key: Result<Text, io::Error>,
    client_ca: Option<Result<Text, io::Error>>,
}

/// One of them is a key, so all of them are wiped.
type Text = Zeroizing<Vec<u8>>;

impl Content {
    fn read(files: &Files) -> Self {
        Self {
            cert: read(&files.cert),
            key: read(&files.key),
            client_ca: files.client_ca.as_deref().map(read),
        }
    }

    /// The same for the same content.
    fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for file in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()] {
            match file {
                Some(Ok(text)) => hash.update(Sha256::digest(text.as_slice())),
                Some(Err(error)) => hash.update(error.to_string()),
                None => {}
            }
        }
        hash.finalize().into()
    }

    fn judge(&self, files: &Files) -> Result<Tls, Vec<Fault>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("cert", &files.cert, &self.cert);
        let key = private_key(&files.key, &self.key);
        let client_ca = files.client_ca.as_deref().zip(self.client_ca.as_ref());
        let clients = match client_ca {
            None => Ok(WebPkiClientVerifier::no_client_auth()),
            Some((path, content)) => certificates("client_ca", path, content).and_then(|list| {
                let wrong = |error: &dyn fmt::Display| {
                    fault(
                        "client_ca",
                        path,
                        format_args!("holds what is no authority: {error}"),
                    )
                };
                let mut roots = RootCertStore::empty();
                for authority in list {
                    roots.add(authority).map_err(|error| wrong(&error))?;
                }
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
                    .build()
                    .map_err(|error| wrong(&error))
            }),
        };
        let expires_at = chain.as_ref().ok().and_then(|chain| first_end(chain));
        let identity = match (chain, key) {
            (Ok(chain), Ok(key)) => certified(chain, key, &provider, files),
            (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        match (identity, clients) {
            (Ok(identity), Ok(clients)) => {
                let mut config = ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| vec![fault("cert", &files.cert, error)])?
                    .with_client_cert_verifier(clients)
                    .with_cert_resolver(Arc::new(identity));
                config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
                Ok(Tls {
                    config: Arc::new(config),
                    expires_at,
                })
            }
            (identity, clients) => {
                let faults = identity.err().into_iter().flatten();
                Err(faults.chain(clients.err()).collect())
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Text> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn certificates(
    field: &'static str,
    path: &Path,
    content: &io::Result<Text>,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let unreadable =
        |error: &dyn fmt::Display| fault(field, path, format_args!("cannot be read: {error}"));
    let text = content.as_ref().map_err(|error| unreadable(error))?;
    let list = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|error| unreadable(&error))?;
    if list.is_empty() {
        return Err(fault(field, path, "holds no certificate"));
    }
    Ok(list)
}

fn private_key(path: &Path, content: &io::Result<Text>) -> Result<PrivateKeyDer<'static>, Fault> {
    let text = content
        .as_ref()
        .map_err(|error| fault("key", path, format_args!("cannot be read: {error}")))?;
    // What the parser stumbled over may be part of the key, so it is not repeated.
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        fault(
            "key",
            path,
            "holds no private key in PEM, or one with a password",
        )
    })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    files: &Files,
) -> Result<SingleCertAndKey, Vec<Fault>> {
    let certified = CertifiedKey::from_der(chain, key, provider);
    certified.map(SingleCertAndKey::from).map_err(|error| {
        vec![if let Error::InconsistentKeys(_) = error {
            fault("key", &files.key, "is not the key of the certificate")
        } else if let Error::InvalidCertificate(_) = error {
            fault("cert", &files.cert, format_args!("cannot be used: {error}"))
        } else {
            fault("key", &files.key, "holds a key that cannot be used")
        }]
    })
}

fn fault(field: &'static str, path: &Path, what: impl fmt::Display) -> Fault {
    let message = format!("`{}` {what}", path.display());
    Fault { field, message }
}

/// When the first of these ends. rustls tells it of a certificate that has ended, and at
/// the end of time they all have.
fn first_end(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::MAX);
    let ends = chain.iter().filter_map(|certificate| {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        let roots = RootCertStore::empty();
        let verdict =
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], end_of_time, &[]);
        let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
            verdict
        else {
            return None;
        };
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
    });
    ends.min()
}
