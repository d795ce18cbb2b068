//! How TLS connections are made: whose certificates are accepted, and which sessions are resumed.

use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::tickets::Tickets;
use crate::workload::load::{Mode, Workload};
use crate::workload::tls::{Tls, Trust};

/// What to do if a certificate is not trusted.
pub const WAY_OUT: &str =
    "name its authority with --ca-file FILE, or accept any certificate with --insecure";

/// What all TLS connections of a workload share.
pub fn config(workload: &Workload, tls: &Tls) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier(&tls.trust)?)
        .with_no_client_auth();
    if workload.mode == Mode::Http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    config.resumption = if tls.resumption {
        Resumption::store(Arc::new(Tickets::new(workload.connections)))
    } else {
        Resumption::disabled()
    };
    Ok(config)
}

fn verifier(trust: &Trust) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let mut known = Vec::new();
    match trust {
        Trust::Anyone => return Ok(Arc::new(Anyone)),
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!("this system trusts no certificate authority: {WAY_OUT}");
            }
        }
        Trust::Authorities(certificates) => {
            for certificate in certificates {
                let added = roots.add(certificate.clone());
                added.context("a certificate of --ca-file cannot be used")?;
            }
            known.clone_from(certificates);
        }
    }
    let provider = Arc::new(default_provider());
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(Arc::new(Chains { chains, known }))
}

/// Accepts what an authority has signed, and the certificates that the user named. A certificate that is its own
/// authority, as `openssl req -x509` makes them, is no server's certificate to webpki.
#[derive(Debug)]
struct Chains {
    chains: Arc<WebPkiServerVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Chains {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            // Its dates were looked at before that.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.known.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Accepts any certificate, also one that cannot be read.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
