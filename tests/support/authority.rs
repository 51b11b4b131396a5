//! Who signs certificates?
//!
//! An authority made for one test. Nobody else trusts it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::Home;

/// See the [module](self).
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another than that of what it signs, or OpenSSL thinks that this signs itself.
        ca.distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        Self(CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name, valid until the first day of this year.
    pub fn issue(&self, name: &str, until: i32) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2020, 1, 1);
        leaf.not_after = date_time_ymd(until, 1, 1);
        Certificate {
            cert: leaf.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts it, with a certificate of its own or without.
    pub fn client(&self, own: Option<&Certificate>, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut client = match own {
            None => client.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                client
                    .with_client_auth_cert(vec![der(&own.cert)], key)
                    .unwrap()
            }
        };
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    }
}

impl Certificate {
    /// Puts it in place, where [`Home::speak_tls`] looks for it.
    pub fn install(&self, home: &Home) {
        home.write("cert.pem", &self.cert);
        home.write("key.pem", &self.key);
    }

    /// The certificate as it is sent.
    pub fn der(&self) -> CertificateDer<'static> {
        der(&self.cert)
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
