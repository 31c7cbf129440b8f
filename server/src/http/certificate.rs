//! The TCP side of the MoQ port: what a browser must read before it can dial a certificate that no authority signed.

use axum::Router;
use axum::routing::get;
use moqgate_moq::CertificateHash;

use super::health::healthz;

/// The routes of that port. The hash is the whole body, without a line end: browsers' peers parse it as hex.
pub(crate) fn router(hash: CertificateHash) -> Router {
    let routes = Router::new()
        .route("/certificate.sha256", get(move || std::future::ready(hash.current())))
        .route("/healthz", get(healthz));
    super::finished(routes)
}
