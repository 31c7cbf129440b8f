//! Session descriptions: offers, and the fragments that follow them.

use moqgate_webrtc::sdp::{Candidate, Fragment, Offer, Transport, finish};

pub(crate) fn offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let told = offer.to_engine();
    let again = Offer::parse(&told).expect("what the engine is told is an offer");
    assert_eq!(again.to_engine(), told, "and says the same");
    assert!(!told.contains("\na=candidate"), "without candidates");
    assert!(offer.payloads().count() <= 128);
    assert!(offer.credentials().is_some());
    let restarted = offer.restarted("abcd", "0123456789012345678901");
    assert_eq!(restarted.credentials(), Some(("abcd", "0123456789012345678901")));
    let candidate = Candidate { address: ([192, 0, 2, 1], 8189).into(), transport: Transport::Udp };
    // An answer has the sections of its offer; here it is the offer.
    let answer = finish(&told, &offer, &[candidate]);
    assert_eq!(answer.matches("a=candidate:").count(), 1, "told once: {answer}");
}

pub(crate) fn fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(fragment) = Fragment::parse(text) {
        assert!(fragment.candidates <= text.lines().count());
    }
}
