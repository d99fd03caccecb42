//! Certificates for a story: an authority of its own, and identities that it signed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority; its files go when it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// The files of an identity, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a story");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let directory = tempfile::Builder::new().prefix("ravenry-identity-").tempdir()?;
        std::fs::write(directory.path().join("ca.crt"), issuer.pem())?;
        Ok(Self { issuer, directory })
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// An identity for some host names and addresses.
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        self.sign(names, |_| {})
    }

    /// One that expired long ago, on 3 February 2020.
    pub fn expired(&self, names: &[&str]) -> Result<Identity> {
        self.sign(names, |params| params.not_after = rcgen::date_time_ymd(2020, 2, 3))
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.first().map_or("host", String::as_str).to_owned();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity { certificate: self.file(&file, "crt"), key: self.file(&file, "key") };
        std::fs::write(&identity.certificate, certificate.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        Path::join(self.directory.path(), format!("{name}.{kind}"))
    }
}
