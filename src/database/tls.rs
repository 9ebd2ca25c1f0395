//! TLS as libpq's `sslmode` and `sslrootcert` mean it, by rustls.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: encryption only.
    #[default]
    Nothing,
    /// Signed by a known authority.
    Authority,
    /// And made out to the host that was asked for.
    Full,
}

/// The files that a URL names.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// `sslrootcert`: the authorities; `system` for those of the system.
    pub(super) root: Option<String>,
    /// `sslcert` and `sslkey`: who we are.
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

/// How a connection is secured.
///
/// # Errors
/// A file that cannot be read, with its name.
pub(super) fn connector(verify: Verify, files: &Files) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match verify {
        Verify::Full => versions.with_root_certificates(roots(files)?),
        Verify::Authority => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(files)?), provider)
                .build()
                .map_err(|error| format!("the authorities cannot be used: {error}"))?;
            let verifier = Lenient { inner: Some(inner), provider: Arc::new(ring::default_provider()) };
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Verify::Nothing => {
            let verifier = Lenient { inner: None, provider };
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| format!("sslkey {key}: {error}"))?;
            builder
                .with_client_auth_cert(certificates(certificate, "sslcert")?, key_der)
                .map_err(|error| format!("sslcert {certificate}, sslkey {key}: {error}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("sslcert and sslkey belong together: give both or none".to_owned()),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(path: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(Path::new(path)).and_then(|found| found.collect());
    match found {
        Ok(found) if found.is_empty() => Err(format!("{what} {path}: it holds no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{what} {path}: {error}")),
    }
}

fn roots(files: &Files) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match files.root.as_deref() {
        Some(path) if path != "system" => {
            for certificate in certificates(path, "sslrootcert")? {
                roots.add(certificate).map_err(|error| format!("sslrootcert {path}: {error}"))?;
            }
        }
        _ => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "the system has no certificate authorities: name a file with sslrootcert".to_owned()
                );
            }
        }
    }
    Ok(roots)
}

/// Checks less than rustls does by itself: `verify-ca` does not ask for the host's name, `require` for nothing.
/// The handshake's signatures are verified all the same.
#[derive(Debug)]
struct Lenient {
    /// Who knows the authorities, where one has to have signed.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Names are looked at last, when the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
