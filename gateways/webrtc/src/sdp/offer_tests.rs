use super::*;
use crate::sdp::uri;

/// A section as Chromium writes it, cut down.
pub(crate) fn section(kind: &str) -> String {
    let formats = match kind {
        "audio" => {
            "111 63\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2"
        }
        _ => {
            "96 97 102\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n\
             a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x"
        }
    };
    let (head, rest) = formats.split_once("\r\n").expect("two parts");
    format!(
        "m={kind} 9 UDP/TLS/RTP/SAVPF {head}\r\nc=IN IP4 0.0.0.0\r\na=mid:{kind}\r\na=sendonly\r\na=rtcp-mux\r\n\
         a=extmap:4 {}\r\na=candidate:1 1 udp 1 x.local 1 typ host\r\n{rest}\r\n",
        uri::MID
    )
}

/// An offer of these sections.
pub(crate) fn chromium(sections: &[String]) -> String {
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio video\r\n\
                a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n";
    format!("{head}{}", sections.concat())
}

#[test]
fn what_is_known_is_kept() {
    let offer = Offer::parse(&chromium(&[section("audio"), section("video")])).expect("an offer");
    let [audio, video] = offer.sections() else { panic!("two sections") };
    let numbers =
        |section: &Section| section.payloads.iter().map(|payload| payload.number).collect::<Vec<_>>();
    assert_eq!((numbers(audio), numbers(video)), (vec![111], vec![96, 102]));
    assert_eq!(video.sources, [1], "the second one of a group repairs the first");
    assert_eq!(offer.extension(uri::MID), Some(4));
    let text = offer.to_engine();
    assert!(text.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 102\r\n"), "{text}");
    for gone in ["candidate", "rtx", "red/", "ssrc:2", "ssrc-group"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert_eq!(Offer::parse(&text).map(|offer| offer.to_engine()), Ok(text));
}

/// OBS has its credentials at the level of the session, groups that nobody else has, and offers no candidates.
#[test]
fn line_58_obs_writes_an_offer_of_its_own() {
    let text = chromium(&[section("audio"), section("video")])
        .replace("a=setup", "a=group:LS audio video\r\na=msid-semantic:WMS *\r\na=setup");
    let text: String =
        text.lines().filter(|line| !is_candidate(line)).map(|line| format!("{line}\r\n")).collect();
    let offer = Offer::parse(&text).expect("an offer");
    assert_eq!(offer.credentials(), Some(("abcd", "0123456789012345678901")));
}

/// Alexa ends lines with a line feed alone, Unity and Larix have attributes of their own, Firefox another order.
#[test]
fn line_63_odd_offers_are_read() {
    let text = chromium(&[section("video"), section("audio")]).replace("\r\n", "\n");
    let offer = Offer::parse(&text.replace("a=setup", "a=x-odd:thing\na=setup")).expect("an offer");
    assert_eq!(offer.sections()[0].kind, Kind::Video);
}

/// The order of sections is the offerer's, and names of hosts in candidates are not looked at.
#[test]
fn line_62_firefox_orders_sections_as_it_likes() {
    let mixed = chromium(&[section("video"), section("audio")]);
    let offer = Offer::parse(&mixed).expect("an offer");
    let kinds: Vec<_> = offer.sections().iter().map(|section| section.kind).collect();
    assert_eq!(kinds, [Kind::Video, Kind::Audio]);
    assert!(!offer.to_engine().contains(".local"));
}

#[test]
fn a_data_channel_is_refused() {
    let data =
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n".to_owned();
    let offer = Offer::parse(&chromium(&[section("video"), data])).expect("an offer");
    let text = offer.to_engine();
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"), "{text}");
    assert!(!text.contains("sctp-port"), "{text}");
}

#[test]
fn what_cannot_be_answered_says_why() {
    let good = chromium(&[section("audio"), section("video")]);
    let broken = |from: &str, to: &str| Offer::parse(&good.replace(from, to)).expect_err("broken");
    assert_eq!(broken("v=0", "hello"), SdpError::Syntax);
    assert_eq!(broken("a=ice-pwd:0123456789012345678901", "a=ice-pwd:short"), SdpError::NoCredentials);
    assert_eq!(broken("a=fingerprint", "a=finger"), SdpError::NoFingerprint);
    assert_eq!(broken("a=group:BUNDLE", "a=group:LS"), SdpError::NoBundle);
    assert_eq!(broken("SAVPF", "SAVPF\u{0}"), SdpError::Syntax);
    assert_eq!(Offer::parse(&chromium(&[])), Err(SdpError::NoMedia));
    assert_eq!(Offer::parse(&good.repeat(100)), Err(SdpError::TooLong));
    assert_eq!(Offer::parse(&chromium(&vec![section("video"); 17])), Err(SdpError::TooLong));
}

#[test]
fn simulcast_names_its_layers() {
    let layers = "a=rid:h send\r\na=rid:m send\r\na=rid:l send\r\na=simulcast:send h;m;l\r\n";
    let offer = Offer::parse(&chromium(&[section("video") + layers])).expect("an offer");
    assert_eq!(offer.sections()[0].layers, ["h", "m", "l"]);
}

#[test]
fn a_restart_changes_nothing_but_the_credentials() {
    let offer = Offer::parse(&chromium(&[section("audio")])).expect("an offer");
    let again = offer.restarted("wxyz", "9876543210987654321098");
    assert_eq!(again.credentials(), Some(("wxyz", "9876543210987654321098")));
    let back = again.restarted("abcd", "0123456789012345678901");
    assert_eq!(back, offer);
}
