//! What a client asks for.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};
use moqgate_core::{Credential, Path, Secret};

use crate::error::Refusal;
use crate::sdp::{Offer, SdpError};

/// Where the client of a request is. The HTTP server puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

impl Default for Client {
    fn default() -> Self {
        Self(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }
}

/// The offer in a body.
pub(super) fn offer(headers: &HeaderMap, body: &[u8]) -> Result<Offer, Refusal> {
    is_type(headers, super::SDP_TYPE)?;
    let text = std::str::from_utf8(body)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "this is not a session description"))?;
    Offer::parse(text).map_err(|error| {
        if error != SdpError::NoMedia {
            return error.into();
        }
        let detail = "the offer has no audio or video in a coding that is known here";
        Refusal::new(StatusCode::NOT_ACCEPTABLE, detail)
    })
}

/// Whether the body is of that type, whatever parameters it has (RFC 9110 section 8.3.1).
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must be {wanted}"))),
    }
}

/// The broadcast that a URL names.
pub(super) fn path(text: &str) -> Result<Path, Refusal> {
    match Path::new(text) {
        Ok(path) if path.is_root() => Err(Refusal::new(StatusCode::BAD_REQUEST, "no broadcast is named")),
        Ok(path) => Ok(path),
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// What the client shows: a bearer token (RFC 6750), a user and a password (RFC 7617), or `token` in the query for
/// clients that cannot set header fields.
pub(super) fn credential(headers: &HeaderMap, query: Option<&str>) -> Result<Credential, Refusal> {
    let wrong = || Refusal::new(StatusCode::UNAUTHORIZED, "the authorization cannot be read");
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let token = query.into_iter().flat_map(|query| query.split('&'));
        let token = token.filter_map(|pair| pair.strip_prefix("token=")).find(|token| !token.is_empty());
        return Ok(token.map_or(Credential::None, |token| Credential::Token(Secret::new(token))));
    };
    let (scheme, rest) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(wrong)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        return Ok(Credential::Token(Secret::new(rest)));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let text = base64(rest).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
        let (user, password) = text.split_once(':').ok_or_else(wrong)?;
        return Ok(Credential::User { user: user.into(), password: Secret::new(password) });
    }
    Err(wrong())
}

/// Decodes standard base64 with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, header::HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn line_61_the_content_type_may_have_parameters() {
        for good in ["application/sdp", "application/sdp; charset=utf-8", "Application/SDP;x"] {
            assert_eq!(is_type(&headers(header::CONTENT_TYPE, good), "application/sdp"), Ok(()));
        }
        for wrong in ["application/sdpx", "text/plain", ""] {
            let refusal = is_type(&headers(header::CONTENT_TYPE, wrong), "application/sdp").expect_err(wrong);
            assert_eq!(refusal.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
    }

    #[test]
    fn credentials_come_in_three_ways() {
        let read = |value| credential(&headers(header::AUTHORIZATION, value), None);
        assert_eq!(read("bearer abc"), Ok(Credential::Token(Secret::new("abc"))));
        let user = Credential::User { user: "Aladdin".into(), password: Secret::new("open sesame") };
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Ok(user));
        for wrong in ["Bearer", "Digest x", "Basic ?", "Basic QQ=="] {
            assert_eq!(read(wrong).map_err(|refusal| refusal.status()), Err(StatusCode::UNAUTHORIZED));
        }
        let none = HeaderMap::new();
        assert_eq!(credential(&none, Some("a=b&token=xyz")), Ok(Credential::Token(Secret::new("xyz"))));
        assert_eq!(credential(&none, Some("token=")), Ok(Credential::None));
    }
}
