//! Which certificates of the upstream are believed?
//!
//! Those that the system's authorities have signed, or those of `ca` alone. There is no
//! way to believe all.

use std::path::Path;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The TLS settings of the client.
///
/// # Errors
/// What is wrong with the authorities, in words for an operator.
pub(super) fn client_config(ca: Option<&Path>, is_needed: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => add_file(&mut roots, path)?,
        None if is_needed => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                return Err("the system has no certificate authorities; install its CA certificates, or name a file here".to_owned());
            }
        }
        None => {}
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("`{shown}` holds no certificate"));
    }
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("`{shown}` holds what is no authority: {error}"))?;
    }
    Ok(())
}
