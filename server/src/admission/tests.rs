use std::time::Duration;

use moqgate_core::{Gate, Origin, OriginConfig};

use super::keys::{Change, NewKey};
use super::*;
use crate::store::Store;

/// Stream keys in a database of their own.
struct Rig {
    policy: Policy,
    keys: Keys,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::open(&Store::open(folder.path()).expect("a database")).expect("no keys yet");
    Rig { policy: Policy { keys: Some(keys.clone()), ..Policy::default() }, keys, _folder: folder }
}

fn wish(paths: &[&str], direction: &str) -> serde_json::Value {
    serde_json::json!({"paths": paths, "direction": direction})
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

impl Rig {
    /// Makes a key: its id and its secret.
    async fn key(&self, wish: serde_json::Value) -> (String, String) {
        let wish: NewKey = serde_json::from_value(wish).expect("a wish");
        let (key, secret) = self.keys.add(wish, now()).await.expect("made");
        (key.id, secret.expose().to_owned())
    }

    async fn decide(&self, request: &Request) -> Result<Grant, String> {
        self.policy.decide(request, now()).await.map_err(|denied| denied.to_string())
    }
}

fn request(protocol: Protocol, direction: Direction, path: &str, credential: Credential) -> Request {
    let path = Path::new(path).expect("a path");
    Request { protocol, direction, path, credential, peer: ([192, 0, 2, 1], 1).into() }
}

fn publish(path: &str, credential: Credential) -> Request {
    request(Protocol::Rtmp, Direction::Publish, path, credential)
}

fn token(text: &str) -> Credential {
    Credential::Token(Secret::new(text))
}

fn user(name: &str, password: &str) -> Credential {
    Credential::User { user: name.into(), password: Secret::new(password) }
}

#[tokio::test]
async fn without_configuration_it_is_open_until_there_is_a_key() {
    let rig = rig();
    assert!(rig.policy.is_open());
    assert!(rig.decide(&publish("a", Credential::None)).await.is_ok());
    assert!(rig.decide(&publish("a", token("whatever"))).await.is_ok());
    let (id, _) = rig.key(wish(&["b"], "publish")).await;
    assert!(!rig.policy.is_open());
    assert_eq!(
        rig.decide(&publish("a", Credential::None)).await.expect_err("closed"),
        "unauthorized: a stream key or a token is needed"
    );
    rig.keys.revoke(id, now()).await.expect("revoked");
    assert!(!rig.policy.is_open(), "taking the last key back opens nothing");
}

#[tokio::test]
async fn one_key_in_every_form() {
    let rig = rig();
    let (id, secret) = rig.key(wish(&["live/cam0"], "both")).await;
    for protocol in [Protocol::Srt, Protocol::Rtmp, Protocol::Webrtc] {
        for direction in [Direction::Publish, Direction::Subscribe] {
            for credential in [token(&secret), user("anybody", &secret), user(&secret, "")] {
                let asked = request(protocol, direction, "live/cam0", credential);
                let grant = rig.decide(&asked).await.unwrap_or_else(|error| panic!("{asked:?}: {error}"));
                assert_eq!(grant.identity, Identity::Credential(format!("key:{id}").into()));
            }
            // The key instead of a name.
            let asked = request(protocol, direction, &format!("live/{secret}"), Credential::None);
            let grant = rig.decide(&asked).await.expect("its only path");
            assert_eq!(grant.path, Some(Path::new("live/cam0").expect("a path")));
        }
    }
    for root in ["", "live", "live/cam0"] {
        let grant = rig.decide(&request(Protocol::Moq, Direction::Both, root, token(&secret))).await;
        assert_eq!(grant.expect("it leads there").root, Path::new(root).expect("a path"));
    }
}

#[tokio::test]
async fn what_a_key_does_not_cover_is_refused_in_words() {
    let rig = rig();
    let (_, publisher) = rig.key(wish(&["live/cam*"], "publish")).await;
    let (_, player) = rig.key(wish(&["live/**"], "play")).await;
    let play = |path, secret: &str| request(Protocol::Srt, Direction::Subscribe, path, token(secret));
    for (asked, refusal) in [
        (publish("other", token(&publisher)), "forbidden: the credential may not publish other"),
        (play("live/cam0", &publisher), "forbidden: the credential may not play"),
        (publish("live/cam0", token(&player)), "forbidden: the credential may not publish"),
        (
            request(Protocol::Moq, Direction::Both, "other", token(&player)),
            "forbidden: the credential is for nothing below \"other\"",
        ),
        (
            publish(&format!("live/{publisher}"), Credential::None),
            "bad_request: the stream key is for several paths: name one, and the key beside it",
        ),
        (
            publish("live/cam0", token("mg_000000000000000000000000")),
            "unauthorized: the stream key or token is not known",
        ),
    ] {
        assert_eq!(rig.decide(&asked).await.expect_err("refused"), refusal);
    }
    assert!(rig.decide(&publish("live/cam7", token(&publisher))).await.is_ok());
    assert!(rig.decide(&play("live/x/y", &player)).await.is_ok());
}

#[tokio::test]
async fn keys_end() {
    let rig = rig();
    let mut expiring = wish(&["a"], "publish");
    expiring["expires"] = "1970-01-01".into();
    let (_, expired) = rig.key(expiring).await;
    let (id, secret) = rig.key(wish(&["a"], "publish")).await;
    let asked = |secret: &str| publish("a", token(secret));
    assert_eq!(
        rig.decide(&asked(&expired)).await.expect_err("refused"),
        "unauthorized: the stream key has expired"
    );
    let (_, rotated) = rig.keys.rotate(id.clone(), now()).await.expect("rotated");
    assert_eq!(
        rig.decide(&asked(&secret)).await.expect_err("refused"),
        "unauthorized: the stream key or token is not known"
    );
    assert!(rig.decide(&asked(rotated.expose())).await.is_ok());
    rig.keys.revoke(id.clone(), now()).await.expect("revoked");
    assert_eq!(
        rig.decide(&asked(rotated.expose())).await.expect_err("refused"),
        "unauthorized: the stream key was revoked"
    );
    let change = rig.keys.change(id, Change::default()).await.expect_err("for ever");
    assert!(change.to_string().contains("was revoked"));
}

#[tokio::test]
async fn an_srt_key_with_a_passphrase_needs_no_secret_in_the_stream_id() {
    let rig = rig();
    let mut with = wish(&["a"], "publish");
    with["passphrase"] = "correct horse battery".into();
    let (id, secret) = rig.key(with).await;
    let (plain, _) = rig.key(wish(&["a"], "publish")).await;
    let by_id = |protocol, id: &str| request(protocol, Direction::Publish, "a", user(id, ""));
    let grant = rig.decide(&by_id(Protocol::Srt, &id)).await.expect("the handshake proves the rest");
    assert_eq!(grant.passphrase, Some(Secret::new("correct horse battery")));
    assert!(rig.decide(&by_id(Protocol::Rtmp, &id)).await.is_err(), "only SRT has a passphrase");
    assert!(rig.decide(&by_id(Protocol::Srt, &plain)).await.is_err(), "nothing would be proven");
    let grant = rig.decide(&publish("a", token(&secret))).await.expect("the secret does for all");
    assert_eq!(grant.passphrase, None);
}

#[tokio::test]
async fn anonymous_players_and_guests() {
    let mut rig = rig();
    rig.policy.anonymous_play = vec![Pattern::new("live/**").expect("a pattern")];
    let play = |path| request(Protocol::Webrtc, Direction::Subscribe, path, Credential::None);
    assert!(rig.decide(&play("live/a")).await.is_ok());
    assert!(rig.decide(&play("other")).await.is_err());
    assert!(rig.decide(&publish("live/a", Credential::None)).await.is_err());
    let moq =
        rig.decide(&request(Protocol::Moq, Direction::Both, "", Credential::None)).await.expect("to play");
    assert!(moq.publish.is_empty() && moq.may_subscribe(&Path::new("live/a").expect("a path")));
    assert!(
        rig.decide(&request(Protocol::Srt, Direction::Subscribe, "live/a", token("wrong"))).await.is_err()
    );

    rig.policy.open = Some(true);
    let (_, secret) = rig.key(wish(&["a"], "publish")).await;
    assert!(rig.decide(&publish("b", Credential::None)).await.is_ok(), "guests may do everything");
    assert!(rig.decide(&publish("b", token(&secret))).await.is_err(), "a key says what it is for");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let rig = rig();
    let (_, secret) = rig.key(wish(&["a"], "publish")).await;
    for guess in 0..10 {
        let refusal = rig.decide(&publish("a", token(&format!("guess {guess}")))).await.expect_err("wrong");
        assert!(refusal.starts_with("unauthorized"), "{refusal}");
    }
    let refusal = rig.decide(&publish("a", token(&secret))).await.expect_err("guessed too often");
    assert!(refusal.starts_with("overloaded: too many wrong credentials"), "{refusal}");
    let elsewhere = Request { peer: ([192, 0, 2, 2], 1).into(), ..publish("a", token(&secret)) };
    assert!(rig.decide(&elsewhere).await.is_ok());
}

#[tokio::test]
async fn who_was_sent_away_stays_away() {
    let rig = rig();
    let (_, secret) = rig.key(wish(&["live/**"], "both")).await;
    let origin = Origin::new(OriginConfig::default());
    let gate = Gate::new(origin.clone(), Arc::new(moqgate_core::OpenAdmission));
    let asked = publish("live/a", token(&secret));
    let session = gate.open(asked.clone(), rig.decide(&asked).await.expect("not yet"), now(), None);
    origin.enforce(|session| {
        rig.policy.kicks.add(session, Duration::from_secs(60), Instant::now());
        None
    });
    drop(session);
    let refusal = rig.decide(&asked).await.expect_err("away");
    assert!(refusal.starts_with("forbidden: ended by the operator; try again in "), "{refusal}");
    let over_moq = request(Protocol::Moq, Direction::Both, "live", token(&secret));
    assert!(rig.decide(&over_moq).await.is_err(), "another door is no way back");
    assert!(rig.decide(&publish("live/b", token(&secret))).await.is_ok(), "another path is");
    let player = request(Protocol::Srt, Direction::Subscribe, "live/a", token(&secret));
    assert!(rig.decide(&player).await.is_ok(), "so is playing");
}

#[test]
fn a_key_in_a_path_is_not_told() {
    let path = Path::new("live/mg_0123456789abcdefghjkmnpq").expect("a path");
    assert_eq!(shown_path(&path), "live/***");
}
