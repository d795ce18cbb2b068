//! The flags of TLS.

use std::path::PathBuf;

use clap::Args;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::{Files, Usage};
use crate::workload::target::{Scheme, Target};
use crate::workload::tls::{Tls, Trust};

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Encrypt the connections: TLS 1.3 or 1.2; implied by https://
    #[arg(long)]
    tls: bool,

    /// Accept certificates of these authorities, in place of those that the system trusts: a PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Accept any certificate
    #[arg(long, conflicts_with = "ca_file")]
    insecure: bool,

    /// The name in the server's certificate [default: that of the address]
    #[arg(long, value_name = "NAME", value_parser = parse_server_name)]
    server_name: Option<ServerName<'static>>,

    /// Make a full handshake for each connection, as a new client does
    #[arg(long)]
    no_resumption: bool,
}

impl TlsArgs {
    /// What these flags and the scheme of a URL ask for; `None`: clear text.
    pub fn tls(&self, target: &Target, files: &Files<'_>) -> Result<Option<Tls>, Usage> {
        let https = target.scheme == Scheme::Https;
        if self.tls && target.scheme == Scheme::Http {
            return Err(Usage(
                "--tls: http:// is clear text: write https://, or host:port".into(),
            ));
        }
        if !self.tls && !https {
            let others = self.insecure || self.no_resumption;
            if others || self.ca_file.is_some() || self.server_name.is_some() {
                return Err(Usage(
                    "--ca-file, --insecure, --server-name and --no-resumption need --tls or an https:// URL".into(),
                ));
            }
            return Ok(None);
        }
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None if target.host.is_empty() => {
                return Err(Usage(
                    "--tls: a Unix-domain socket has no name: give the certificate's with --server-name".into(),
                ));
            }
            None => parse_server_name(&target.host)
                .map_err(|error| Usage(format!("{}: {error}", target.host)))?,
        };
        let trust = match &self.ca_file {
            Some(path) => {
                let read = files(path).map_err(|error| error.to_string());
                let authorities = read.and_then(|pem| parse_authorities(&pem));
                Trust::Authorities(
                    authorities
                        .map_err(|error| Usage(format!("--ca-file {}: {error}", path.display())))?,
                )
            }
            None if self.insecure => Trust::Anyone,
            None => Trust::System,
        };
        Ok(Some(Tls {
            server_name,
            trust,
            resumption: !self.no_resumption,
        }))
    }
}

fn parse_server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| "not a name that a certificate can be for".to_owned())
}

fn parse_authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("there is no certificate in it; PEM is expected".to_owned());
    }
    for certificate in &certificates {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
    }
    Ok(certificates)
}
