//! Random bytes fit for keys and salts, from the cryptography provider that TLS uses.

use tokio_rustls::rustls::crypto::aws_lc_rs;

/// The system gave no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system has no randomness to give")]
pub struct NoRandomness;

/// So many random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
