//! Files, good and bad, and what a client sees of them over a pipe.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;

#[test]
fn all_that_is_wrong_is_told() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new());
    let (cert, key) = authority.issue(2100);
    let (_, other_key) = authority.issue(2100);
    let key_with_password = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (cert, key, client_ca, expected) in [
        (&*cert, &*key, authority.pem(), &[][..]),
        (
            "",
            "",
            String::new(),
            &[
                "cert holds no certificate",
                "key holds no private key",
                "client_ca holds no certificate",
            ],
        ),
        (
            &cert,
            &other_key,
            authority.pem(),
            &["key is not the key of the certificate"],
        ),
        (
            &cert,
            &key_with_password,
            authority.pem(),
            &["key holds no private key"],
        ),
        (
            &key,
            &cert,
            authority.pem(),
            &["cert holds no certificate", "key holds no private key"],
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            authority.pem(),
            &["cert cannot be used"],
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            &key,
            authority.pem(),
            &["cert cannot be read"],
        ),
        (
            &cert,
            &key,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            &["client_ca holds what is no authority"],
        ),
    ] {
        let files = write(&home, cert, key, Some(&client_ca));

        let faults = load(&files).err().unwrap_or_default();

        let told: Vec<_> = faults
            .iter()
            .map(|fault| fault.message.replace(home.path().to_str().unwrap(), ""))
            .collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            let (field, what) = expected.split_once(' ').unwrap();
            assert!(
                told.starts_with(&format!("`/{field}.pem` {what}")),
                "{told}"
            );
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let home = TempDir::new().unwrap();
    let files = files(&home, true);

    let faults = load(&files).unwrap_err();

    let fields: Vec<_> = faults.iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["cert", "key", "client_ca"]);
    for fault in faults {
        assert!(fault.message.contains("cannot be read: No such file"));
    }
}

#[test]
fn no_fault_and_no_debug_shows_the_key() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new());
    let (cert, key) = authority.issue(2100);
    let inside = key.lines().nth(1).unwrap();
    let spoilt = key.replace(inside, &format!("{inside}!canary"));

    let tls = load(&write(&home, &cert, &key, None)).unwrap();
    let faults = load(&write(&home, &cert, &spoilt, None)).unwrap_err();

    for shown in [format!("{tls:?}"), format!("{faults:?}")] {
        assert!(
            !shown.contains("canary") && !shown.contains(inside),
            "{shown}"
        );
    }
}

#[test]
fn the_first_certificate_to_end_says_until_when() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new());
    let (early, _) = authority.issue(2021);
    let (late, key) = authority.issue(2100);
    let year = |tls: Arc<Tls>| {
        let end = humantime::format_rfc3339_seconds(tls.expires_at().unwrap());
        end.to_string()
    };

    let alone = load(&write(&home, &late, &key, None)).unwrap();
    let both = load(&write(&home, &(late + &early), &key, None)).unwrap();

    assert_eq!(year(alone), "2100-01-01T00:00:00Z");
    assert_eq!(year(both), "2021-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_the_same_one_is_no_new_one() {
    let (home, authority, kept) = (TempDir::new().unwrap(), Authority::new(), Kept::default());
    let (cert, key) = authority.issue(2100);
    let tls = Tls::load(&write(&home, &cert, &key, None), &kept).unwrap();
    let (first, mut open) = hello(&tls, &authority).await;

    let same = Tls::load(&write(&home, &cert, &key, None), &kept).unwrap();
    let (new_cert, new_key) = authority.issue(2100);
    let new = Tls::load(&write(&home, &new_cert, &new_key, None), &kept).unwrap();

    assert!(Arc::ptr_eq(&tls, &same));
    assert_eq!(first, der(&cert));
    assert_eq!(hello(&new, &authority).await.0, der(&new_cert));
    open.round_trip().await;
}

/// Shakes hands; returns the certificate and both ends of the connection.
async fn hello(tls: &Tls, authority: &Authority) -> (CertificateDer<'static>, Open) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("portaria.test").unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client()));
    let (client, server) = tokio::join!(connector.connect(name, ours), tls.accept(theirs));
    let (client, server) = (client.unwrap(), server.unwrap());
    let chain = client.get_ref().1.peer_certificates().unwrap();
    let leaf = chain[0].clone().into_owned();
    (leaf, Open { client, server })
}

/// Both ends of a connection.
struct Open {
    client: tokio_rustls::client::TlsStream<DuplexStream>,
    server: TlsStream<DuplexStream>,
}

impl Open {
    async fn round_trip(&mut self) {
        self.client.write_all(b"?").await.unwrap();
        assert_eq!(self.server.read_u8().await.unwrap(), b'?');
        self.server.write_all(b"!").await.unwrap();
        assert_eq!(self.client.read_u8().await.unwrap(), b'!');
    }
}

/// An authority made for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate that is valid until this year, and its key.
    fn issue(&self, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(["portaria.test".to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2020, 1, 1);
        leaf.not_after = date_time_ymd(until, 1, 1);
        let leaf = leaf.signed_by(&key, &self.0).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    /// A client that trusts it.
    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.pem())).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn load(files: &Files) -> Result<Arc<Tls>, Vec<Fault>> {
    Tls::load(files, &Kept::default())
}

fn files(home: &TempDir, with_clients: bool) -> Files {
    let path = |name| home.path().join(name);
    Files {
        cert: path("cert.pem"),
        key: path("key.pem"),
        client_ca: with_clients.then(|| path("client_ca.pem")),
    }
}

fn write(home: &TempDir, cert: &str, key: &str, client_ca: Option<&str>) -> Files {
    let files = files(home, client_ca.is_some());
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    for (path, text) in files.client_ca.iter().zip(client_ca) {
        fs::write(path, text).unwrap();
    }
    files
}
