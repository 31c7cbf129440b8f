//! Tokens and keys of the released `moq auth`.

use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).expect("JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

fn jwt(key: &str) -> Jwt {
    ring::install();
    Jwt { keys: jwk::parse(key).expect("a key") }
}

/// A hundred seconds after the Unix epoch.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100)
}

fn hs256() -> Jwt {
    jwt(text(&vectors()["algorithms"][0], "key"))
}

fn path(text: &str) -> moqgate_core::Path {
    moqgate_core::Path::new(text).expect("a path")
}

#[test]
fn every_algorithm_of_the_released_tool() {
    let vectors = vectors();
    let all = vectors["algorithms"].as_array().expect("a list");
    assert_eq!(all.len(), 12);
    for vector in all {
        let (name, token) = (text(vector, "alg"), text(vector, "token"));
        let jwt = jwt(text(vector, "key"));
        let grant = jwt.grant(token, now()).unwrap_or_else(|denied| panic!("{name}: {denied}"));
        assert!(grant.may_publish(&path("live/cam0/hd")) && !grant.may_publish(&path("live/cam1")), "{name}");
        assert!(grant.may_subscribe(&path("live/cam1")) && !grant.may_subscribe(&path("other")), "{name}");
        assert!(looks_like_token(token));

        // One letter of the claims, and one of the signature, in the middle, where every bit counts.
        for part in [1, 2] {
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            let middle = parts[part].len() / 2;
            let other = if parts[part].as_bytes()[middle] == b'A' { "B" } else { "A" };
            parts[part].replace_range(middle..=middle, other);
            assert!(jwt.grant(&parts.join("."), now()).is_err(), "{name}: part {part} was changed");
        }
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_only() {
    let vectors = vectors();
    let all = vectors["algorithms"].as_array().expect("a list");
    for (index, vector) in all.iter().enumerate() {
        let other = text(&all[(index + 1) % all.len()], "token");
        let denied = jwt(text(vector, "key")).grant(other, now()).expect_err("another key's token");
        assert_eq!(denied.reason, DenyReason::Unauthorized);
    }
    let unsigned = "eyJhbGciOiJub25lIn0.eyJwdXQiOiIifQ.";
    assert!(hs256().grant(unsigned, now()).is_err());
}

#[test]
fn times_and_strangers() {
    let vectors = vectors();
    let denied = hs256().grant(text(&vectors, "expired"), UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    assert_eq!(denied.expect_err("expired").detail, "the token has expired");
    let early = hs256().grant(text(&vectors, "expired"), now()).expect("not yet");
    assert_eq!(early.expires, Some(UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    assert!(hs256().grant(text(&vectors, "stranger"), now()).is_err(), "the same kid, another secret");
    for broken in ["", "a.b.c", "eyJ.eyJ.x", &"e".repeat(5000)] {
        assert!(hs256().grant(broken, now()).is_err());
    }
}

#[test]
fn patterns_are_exact() {
    let grant = hs256().grant(text(&vectors(), "patterns"), now()).expect("legal");
    assert!(grant.may_publish(&path("live/cam0")) && !grant.may_publish(&path("live/cam0/hd")));
    assert!(grant.may_subscribe(&path("live/cam7")) && !grant.may_subscribe(&path("live/x")));
}

#[test]
fn keys_with_a_scope_and_sets_of_keys() {
    let vectors = vectors();
    let scoped = jwt(text(&vectors, "scoped_key"));
    assert!(scoped.grant(text(&vectors, "scoped"), now()).is_ok());
    let json = |encoded: &str| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
        String::from_utf8(bytes).expect("JSON")
    };
    let one = json(text(&vectors["algorithms"][0], "key"));
    let two = json(text(&vectors["algorithms"][3], "key"));
    let set = jwt(&format!(r#"{{"keys":[{one},{two}]}}"#));
    assert!(set.grant(text(&vectors["algorithms"][0], "token"), now()).is_ok());
    assert!(set.grant(text(&vectors["algorithms"][3], "token"), now()).is_ok());
    assert!(set.grant(text(&vectors["algorithms"][5], "token"), now()).is_err());
}

#[test]
fn keys_that_cannot_be_used_say_why_and_not_what() {
    for (key, problem) in [
        ("", "no JWK"),
        ("{}", "alg is missing"),
        (r#"{"alg":"HS256","k":"c2hvcnRzZWNyZXQ"}"#, "at least 32 bytes"),
        (r#"{"alg":"ES256","kty":"oct","k":"c2hvcnRzZWNyZXQ"}"#, "do not go together"),
        (r#"{"alg":"none","kty":"oct","k":"c2hvcnRzZWNyZXQ"}"#, "not supported"),
        (r#"{"alg":"HS256","kty":"oct","key_ops":["sign"],"k":"c2hvcnRzZWNyZXQ"}"#, "verify"),
        (r#"{"alg":"HS256","kty":"oct","k":c2hvcnRzZWNyZXQ}"#, "no JWK"),
        (r#"{"keys":[]}"#, "empty"),
    ] {
        let error = jwk::parse(key).err().unwrap_or_else(|| panic!("{key} is taken"));
        assert!(error.contains(problem) && !error.contains("c2hvc"), "{key}: {error}");
    }
}
