//! RTMPS on the port of RTMP.

use std::sync::Arc;

use moqgate_core::OpenAdmission;
use moqgate_rtmp::Config;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use crate::bench::{Bench, Client};
use crate::tools::{push, system_ffmpeg};

/// A server's side, and that of clients that believe it.
pub(crate) fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let chain = vec![made.cert.der().clone()];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[tokio::test]
async fn both_kinds_share_the_port() {
    let (server, client) = certificate();
    let connector = TlsConnector::from(client);
    let bench = Bench::with(Config { tls: Some(server), ..Config::default() }, OpenAdmission);
    let name = ServerName::try_from("localhost").expect("a name");
    let encrypted = connector.connect(name, bench.socket().await).await.expect("a handshake");
    let mut encrypted = Client::new(encrypted).await;
    let mut plain = bench.client().await;
    assert_eq!(encrypted.publish("live", "secret").await, "NetStream.Publish.Start");
    assert_eq!(plain.publish("live", "open").await, "NetStream.Publish.Start");
    let tls = bench.metrics.samples().into_iter().find(|sample| sample.name == "moqgate_rtmp_tls_total");
    assert_eq!(tls.map(|sample| sample.value), Some(1));

    let mut broken = bench.socket().await;
    broken.write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await.expect("loopback");
    bench
        .until("the broken one is counted", |bench| {
            bench.sample("moqgate_rtmp_failed_total", "disconnected") == 1
        })
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn ffmpeg_pushes_rtmps() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let (server, _) = certificate();
    let bench = Bench::with(Config { tls: Some(server), ..Config::default() }, OpenAdmission);
    let url = bench.url("live/cam0").replace("rtmp://", "rtmps://");
    let _encoder = push(&ffmpeg, "-c:v libx264 -preset ultrafast -g 25 -c:a aac", &url);
    bench.until("frames come in", |bench| bench.ingress("live/cam0").frames > 100).await;
    bench.stop().await;
}
