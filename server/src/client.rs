//! HTTP to others: the webhook of admission, and whoever takes usage.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};

/// Kept open to one host while nothing is asked.
const IDLE_MAX: usize = 8;

/// A client whose answers must be there, body included, within `timeout`. It follows no redirect, since a body may hold
/// credentials, and takes no proxy from the environment.
pub(crate) fn build(timeout: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(timeout)
        .redirect(Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(IDLE_MAX)
        .user_agent(concat!("moqgate/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls())
        .build()
}

/// ring, and the authorities that the system knows.
fn tls() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has every default version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
