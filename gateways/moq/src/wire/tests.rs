//! Every message against bytes that the released implementations produce or accept, and against itself.

use std::fmt::Debug;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use proptest::prelude::*;

use super::Version::{Lite03, Lite04, Lite05, Lite06};
use super::*;

fn hex(text: &str) -> BytesMut {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Decodes to `message`, encodes to the same bytes, and asks for more at every cut.
fn check<M: Message + PartialEq + Debug>(version: Version, bytes: &str, message: &M) {
    let bytes = hex(bytes);
    assert_eq!(message.to_bytes(version), bytes, "{version} {message:?}");
    let mut buf = bytes.clone();
    buf.extend_from_slice(b"next");
    assert_eq!(M::decode(&mut buf, version).unwrap().as_ref(), Some(message), "{version}");
    assert_eq!(&buf[..], b"next");
    for cut in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..cut]);
        assert_eq!(M::decode(&mut part, version), Ok(None), "{version} cut at {cut}");
        assert_eq!(part.len(), cut, "an incomplete message is left alone");
    }
}

fn check_error<M: Message + PartialEq + Debug>(version: Version, bytes: &str, error: DecodeError) {
    assert_eq!(M::decode(&mut hex(bytes), version), Err(error), "{version} {bytes}");
}

#[test]
fn setup_streams() {
    let mut setup = Setup::default();
    check(Lite05, "01 00", &setup);
    assert_eq!(
        (setup.probe(), setup.role(), setup.cost(), setup.hop()),
        (ProbeSupport::None, Role::Both, 1, None)
    );
    setup.set_probe(ProbeSupport::Report);
    setup.set_hop(0x1234);
    check(Lite06, "08 02 01 01 01 05 02 52 34", &setup);
    assert_eq!((setup.probe(), setup.hop()), (ProbeSupport::Report, Some(0x1234)));

    let mut setup = Setup::default();
    setup.set_cost(100);
    check(Lite06, "05 01 04 02 40 64", &setup);
    assert_eq!(setup.cost(), 100);

    let mut setup = Setup::default();
    setup.set_path("/anon?jwt=abc");
    setup.set_role(Role::Publisher);
    check(Lite06, "13 02 02 0d 2f 61 6e 6f 6e 3f 6a 77 74 3d 61 62 63 03 01 01", &setup);
    assert_eq!((setup.path(), setup.role()), (Some("/anon?jwt=abc"), Role::Publisher));

    let mut setup = Setup::default();
    setup.set_downstream();
    check(Lite05, "07 01 9d 76 65 77 01 01", &setup);
    assert!(setup.downstream());
}

#[test]
fn setup_refusals() {
    check_error::<Setup>(Lite05, "05 02 00 00 00 00", DecodeError::Duplicate(0));
    check_error::<Setup>(Lite05, "02 00 00", DecodeError::Long);
    check_error::<Setup>(Lite05, "05 01 01 02 01 00", DecodeError::Long);
    check_error::<Setup>(Lite05, "04 01 02 01 ff", DecodeError::Utf8);
    check_error::<Setup>(Lite05, "02 40 41", DecodeError::TooLarge { length: 65, max: PARAMETERS_MAX });
    check_error::<Setup>(Lite05, "80 01 00 01", DecodeError::TooLarge { length: 65537, max: SETUP_LEN_MAX });
    let unknown = hex("06 01 7e ef 02 aa bb");
    let setup = Setup::decode(&mut unknown.clone(), Lite06).unwrap().unwrap();
    assert_eq!(setup.get(0x3eef), Some(&Bytes::from_static(&[0xaa, 0xbb])), "unknown parameters are kept");
    assert_eq!(setup.to_bytes(Lite06), unknown);
}

#[test]
fn announce_requests() {
    let demo = AnnounceRequest { prefix: "demo".into(), exclude_hop: 0 };
    check(Lite03, "05 04 64 65 6d 6f", &demo);
    check(Lite06, "05 04 64 65 6d 6f", &demo);
    let demo = AnnounceRequest { exclude_hop: 0x1234, ..demo };
    check(Lite04, "07 04 64 65 6d 6f 52 34", &demo);
    check(Lite05, "07 04 64 65 6d 6f 52 34", &demo);
    check(Lite05, "02 00 00", &AnnounceRequest::default());
    check(Lite06, "03 52 34 01", &AnnounceOk { hop: 0x1234, active: 1 });
}

#[test]
fn announcements() {
    let start = |suffix: &str, hops: &[u64]| Announcement::Start {
        suffix: suffix.into(),
        route: Route::from_hops(hops.to_vec()),
    };
    check(Lite03, "06 01 03 62 62 62 01", &start("bbb", &[0]));
    check(Lite04, "07 01 03 62 62 62 01 07", &start("bbb", &[7]));
    check(Lite05, "07 01 03 62 62 62 01 07", &start("bbb", &[7]));
    check(Lite05, "03 01 00 00", &start("", &[]));
    for version in [Lite03, Lite04, Lite05] {
        check(version, "06 00 03 62 62 62 00", &Announcement::End { suffix: "bbb".into() });
    }
    let route = |warm, cold| Route { hops: vec![7], warm, cold };
    check(
        Lite06,
        "00 08 03 62 62 62 01 07 00 00",
        &Announcement::Start { suffix: "bbb".into(), route: route(0, 0) },
    );
    check(Lite06, "01 01 2a", &Announcement::EndId { id: 42 });
    check(Lite06, "02 05 00 01 07 01 05", &Announcement::RestartId { id: 0, route: route(1, 5) });
    check(
        Lite05,
        "0d 02 08 6c6976652f6f6e65 01 4063",
        &Announcement::Restart { suffix: "live/one".into(), route: Route::from_hops(vec![99]) },
    );
}

#[test]
fn announcement_refusals() {
    check_error::<Announcement>(
        Lite06,
        "00 0a 04 64757068 02 05 05 00 00",
        DecodeError::Invalid("repeated hop"),
    );
    check_error::<Announcement>(Lite06, "00 07 02 7472 00 00 00 07", DecodeError::Long);
    check_error::<Announcement>(
        Lite06,
        "00 03 01 61 21",
        DecodeError::TooLarge { length: 33, max: HOPS_MAX },
    );
    check_error::<Announcement>(Lite04, "03 02 00 00", DecodeError::Invalid("announce status"));
    let mut buf = hex("09 02 aa bb 01 01 00");
    assert_eq!(Announcement::decode(&mut buf, Lite06), Ok(Some(Announcement::Unknown { kind: 9 })));
    assert_eq!(Announcement::decode(&mut buf, Lite06), Ok(Some(Announcement::EndId { id: 0 })));
}

#[test]
fn subscribes() {
    let catalog = Subscribe {
        id: 0,
        broadcast: "demo/bbb".into(),
        track: "catalog.json".into(),
        terms: Terms { priority: 100, ..Terms::default() },
    };
    for version in [Lite03, Lite04, Lite05] {
        check(version, "1c 00 08 64656d6f2f626262 0c 636174616c6f672e6a736f6e 64 00 00 00 00", &catalog);
    }
    check(Lite06, "1d 00 08 64656d6f2f626262 0c 636174616c6f672e6a736f6e 64 00 00 00 00 00", &catalog);

    let range = Range { start: Some(7), end: Some(9), frame_start: 0, frame_end: None };
    let mut ranged = Subscribe {
        id: 1,
        broadcast: "room".into(),
        track: "video".into(),
        terms: Terms { priority: 3, max_age: Duration::from_millis(250), range, ..Terms::default() },
    };
    check(Lite05, "12 01 04 726f6f6d 05 766964656f 03 00 40 fa 08 0a", &ranged);
    ranged.terms.range = Range { frame_start: 4, frame_end: Some(2), ..range };
    check(Lite06, "13 01 04 726f6f6d 05 766964656f 03 40 fa 07 0a 04 03", &ranged);
}

#[test]
fn group_start_forms() {
    let update =
        |start| SubscribeUpdate(Terms { range: Range { start, ..Range::default() }, ..Terms::default() });
    check(Lite05, "05 00 00 00 00 00", &update(None));
    check(Lite05, "05 00 00 00 01 00", &update(Some(0)));
    check(Lite05, "05 00 00 00 05 00", &update(Some(4)));
    check(Lite06, "06 00 00 00 00 00 00", &update(None));
    check(Lite06, "06 00 00 04 00 00 00", &update(Some(4)));
    assert_eq!(update(Some(0)).to_bytes(Lite06), update(None).to_bytes(Lite06), "group 0 is no constraint");
    let resume = Range { start: Some(0), frame_start: 3, ..Range::default() };
    check(Lite06, "06 00 00 00 00 03 00", &SubscribeUpdate(Terms { range: resume, ..Terms::default() }));
    check_error::<SubscribeUpdate>(
        Lite06,
        "06 00 00 00 00 00 05",
        DecodeError::Invalid("frame end without group end"),
    );
}

#[test]
fn subscribe_updates() {
    let update =
        SubscribeUpdate(Terms { priority: 60, max_age: Duration::from_millis(100), ..Terms::default() });
    check(Lite05, "06 3c 00 40 64 00 00", &update);
    check(Lite06, "07 3c 40 64 00 00 00 00", &update);
}

#[test]
fn downstream_only_where_advertised() {
    let subscribe = Subscribe {
        id: 0,
        broadcast: "demo/bbb".into(),
        track: "video0".into(),
        terms: Terms { priority: 60, downstream: 300, ..Terms::default() },
    };
    let bytes = hex("18 00 08 64656d6f2f626262 06 766964656f30 3c 00 00 00 00 41 2b");
    assert_eq!(subscribe.to_bytes(Lite05), bytes);
    assert_eq!(Subscribe::decode_extended(&mut bytes.clone(), Lite05), Ok(Some(subscribe.clone())));
    assert_eq!(Subscribe::decode(&mut { bytes }, Lite05), Err(DecodeError::Long));
    let plain = Subscribe { terms: Terms { downstream: 1, ..subscribe.terms }, ..subscribe };
    assert_eq!(Subscribe::decode_extended(&mut plain.to_bytes(Lite05).into(), Lite05), Ok(Some(plain)));
    let huge = hex("0e 3c 40 64 00 00 00 00 ff ff ff ff ff ff ff");
    assert_eq!(SubscribeUpdate::decode_extended(&mut { huge }, Lite06), Err(DecodeError::Short));
    let huge = hex("0f 3c 40 64 00 00 00 00 ff ff ff ff ff ff ff ff");
    let update = SubscribeUpdate::decode_extended(&mut { huge }, Lite06).unwrap().unwrap();
    assert_eq!(update.0.downstream, DOWNSTREAM_MAX);
    let nobody = SubscribeUpdate(Terms { priority: 60, downstream: 0, ..Terms::default() });
    let bytes = hex("07 3c 00 00 00 00 00 00");
    assert_eq!(nobody.to_bytes(Lite06), bytes);
    assert_eq!(SubscribeUpdate::decode_extended(&mut { bytes }, Lite06), Ok(Some(nobody)));
}

#[test]
fn subscribe_replies() {
    for version in [Lite03, Lite04] {
        check(version, "00 05 00 00 00 00 00", &SubscribeReply::Ok(Terms::default()));
        check(version, "01 03 03 04 34", &SubscribeReply::Drop { first: 3, last: 4, code: 0x34 });
        check_error::<SubscribeReply>(version, "02 03 03 04 34", DecodeError::UnknownType(2));
    }
    for version in [Lite05, Lite06] {
        check(version, "00 01 00", &SubscribeReply::Start { group: 0 });
        check(version, "00 01 05", &SubscribeReply::Start { group: 5 });
        check(version, "01 01 07", &SubscribeReply::End { group: 7 });
        check(version, "02 03 03 04 34", &SubscribeReply::Drop { first: 3, last: 4, code: 0x34 });
        check_error::<SubscribeReply>(version, "03 00", DecodeError::UnknownType(3));
        let mut whole = hex("00 01 00 01 01 02");
        let start = SubscribeReply::decode(&mut whole, version).unwrap();
        let end = SubscribeReply::decode(&mut whole, version).unwrap();
        assert_eq!(
            (start, end),
            (Some(SubscribeReply::Start { group: 0 }), Some(SubscribeReply::End { group: 2 }))
        );
    }
}

#[test]
fn tracks() {
    let track = Track { broadcast: "demo/bbb".into(), track: "video0".into() };
    check(Lite05, "10 08 64656d6f2f626262 06 766964656f30", &track);
    let info = |priority, millis, timescale| TrackInfo {
        priority,
        ordered: 0,
        max_age: Duration::from_millis(millis),
        timescale,
    };
    check(Lite05, "06 7f 00 53 88 43 e8", &info(127, 5000, 1000));
    check(Lite06, "05 7f 53 88 43 e8", &info(127, 5000, 1000));
    check(Lite05, "0a 3c 00 80 00 75 30 80 0f 42 40", &info(60, 30000, 1_000_000));
    check(Lite06, "09 3c 80 00 75 30 80 0f 42 40", &info(60, 30000, 1_000_000));
    check_error::<TrackInfo>(Lite06, "04 7f 53 88 00", DecodeError::Invalid("timescale"));
}

#[test]
fn fetch_probe_goaway() {
    let fetch = Fetch {
        broadcast: "room".into(),
        track: "video".into(),
        priority: 3,
        group: 7,
        frame_start: 0,
        frame_end: None,
    };
    check(Lite05, "0d 04 726f6f6d 05 766964656f 03 07", &fetch);
    let fetch = Fetch { frame_start: 2, frame_end: Some(6), ..fetch };
    check(Lite06, "0f 04 726f6f6d 05 766964656f 03 07 02 07", &fetch);
    check_error::<Fetch>(
        Lite06,
        "0f 04 726f6f6d 05 766964656f 03 07 04 03",
        DecodeError::Invalid("frame range"),
    );
    check(Lite03, "04 80 26 25 a0", &Probe { bitrate: 2_500_000, rtt_ms: 0 });
    check(Lite04, "05 80 26 25 a0 28", &Probe { bitrate: 2_500_000, rtt_ms: 40 });
    check(Lite05, "01 00", &Goaway::default());
    check(Lite06, "09 08 68747470 733a2f2f", &Goaway { uri: "https://".into() });
}

#[test]
fn groups_and_frames() {
    let head = GroupHead { subscribe_id: 1, sequence: 7, frame_start: 0 };
    check(Lite03, "02 01 07", &head);
    check(Lite05, "02 01 07", &head);
    check(Lite06, "03 01 07 00", &head);

    for version in [Lite05, Lite06] {
        let bytes = hex("80 25 ad 0e 09 80 01 04 6a 09 80 01 04 69 04");
        let expected = [(1_234_567, 9), (1_267_900, 9), (1_234_567, 4)];
        let (mut reader, mut writer) = (FrameHeads::new(version), FrameHeads::new(version));
        let (mut buf, mut out) = (bytes.clone(), BytesMut::new());
        for (timestamp, size) in expected {
            let head = FrameHead { timestamp: Some(timestamp), size };
            assert_eq!(reader.decode(&mut buf), Ok(Some(head)));
            writer.encode(timestamp, size, &mut out);
        }
        assert_eq!(out, bytes);
        assert_eq!(reader.decode(&mut hex("80 01 04")), Ok(None));
        assert_eq!(reader.decode(&mut hex("80 01 04 6a")), Ok(None), "half a head moves no clock");
        assert_eq!(
            reader.decode(&mut hex("80 01 04 6a 04")),
            Ok(Some(FrameHead { timestamp: Some(1_267_900), size: 4 }))
        );
    }

    let mut out = BytesMut::new();
    FrameHeads::new(Lite04).encode(5, 2, &mut out);
    assert_eq!(out, hex("02"));
    assert_eq!(
        FrameHeads::new(Lite03).decode(&mut hex("02 68 69")),
        Ok(Some(FrameHead { timestamp: None, size: 2 }))
    );
    assert_eq!(FrameHeads::new(Lite05).decode(&mut hex("01 02")), Err(DecodeError::Invalid("timestamp")));
    assert_eq!(
        FrameHeads::new(Lite05).decode(&mut hex("00 82 00 00 01")),
        Err(DecodeError::TooLarge { length: FRAME_LEN_MAX + 1, max: FRAME_LEN_MAX })
    );
}

#[test]
fn datagrams() {
    let bytes = hex("01 02 03 77 6f 72 6c 64").freeze();
    let datagram =
        Datagram { subscribe_id: 1, sequence: 2, timestamp: 3, payload: Bytes::from_static(b"world") };
    assert_eq!(Datagram::decode(bytes.clone()), Ok(datagram.clone()));
    assert_eq!(datagram.encode(), bytes);
    assert_eq!(Datagram::decode(bytes.slice(..2)), Err(DecodeError::Short));
}

#[test]
fn stream_types_per_version() {
    assert_eq!(BidiType::from_id(6, Lite04), None);
    assert_eq!(BidiType::from_id(6, Lite05), Some(BidiType::Track));
    assert_eq!(BidiType::from_id(5, Lite03), None);
    assert_eq!(UniType::from_id(1, Lite04), None);
    assert_eq!(BidiType::from_id(0x30, Lite06), None);
    let mut buf = hex("40");
    assert_eq!(take_type(&mut buf), None);
    buf.extend_from_slice(&[0x06, 0x10]);
    assert_eq!((take_type(&mut buf), buf.len()), (Some(6), 1));
}

#[test]
fn long_messages_are_refused_before_they_arrive() {
    check_error::<Subscribe>(
        Lite06,
        "83 ff ff ff",
        DecodeError::TooLarge { length: 0x3ff_ffff, max: MESSAGE_LEN_MAX },
    );
    check_error::<AnnounceRequest>(
        Lite06,
        "03 48 01 61",
        DecodeError::TooLarge { length: 2049, max: NAME_LEN_MAX },
    );
}

mod books {
    use super::*;

    fn route(hops: &[u64]) -> Route {
        Route::from_hops(hops.to_vec())
    }

    fn start(suffix: &str, hops: &[u64]) -> Announcement {
        Announcement::Start { suffix: suffix.into(), route: route(hops) }
    }

    #[test]
    fn ids_are_never_reused() {
        let mut book = Announced::new(Lite06);
        book.push(start("a", &[1])).unwrap();
        book.push(start("/b//c/", &[1])).unwrap();
        assert_eq!(
            book.push(Announcement::RestartId { id: 1, route: route(&[9]) }),
            Ok(Some(AnnounceEvent::Rerouted { suffix: "b/c".into(), route: route(&[9]) }))
        );
        assert_eq!(
            book.push(Announcement::EndId { id: 0 }),
            Ok(Some(AnnounceEvent::Ended { suffix: "a".into() }))
        );
        assert_eq!(book.push(Announcement::EndId { id: 0 }), Err(AnnounceError::UnknownId(0)));
        assert_eq!(book.push(Announcement::Unknown { kind: 9 }), Ok(None));
        book.push(start("a", &[1])).unwrap();
        assert_eq!(
            book.push(Announcement::EndId { id: 2 }),
            Ok(Some(AnnounceEvent::Ended { suffix: "a".into() }))
        );
    }

    #[test]
    fn a_live_suffix_again() {
        for version in [Lite03, Lite04, Lite06] {
            let mut book = Announced::new(version);
            book.push(start("dup", &[7])).unwrap();
            assert_eq!(book.push(start("dup/", &[7])), Err(AnnounceError::AlreadyLive("dup".into())));
        }
        let mut book = Announced::new(Lite05);
        book.push(start("dup", &[7])).unwrap();
        assert_eq!(
            book.push(start("dup", &[8])),
            Ok(Some(AnnounceEvent::Rerouted { suffix: "dup".into(), route: route(&[8]) }))
        );
    }

    #[test]
    fn ending_what_is_not_live() {
        let end = Announcement::End { suffix: "never".into() };
        assert_eq!(Announced::new(Lite05).push(end.clone()), Ok(None));
        assert_eq!(Announced::new(Lite04).push(end), Err(AnnounceError::NotLive("never".into())));
    }

    #[test]
    fn a_book_is_bounded_and_a_busy_peer_is_not_at_fault() {
        for version in [Lite04, Lite06] {
            let mut book = Announced::new(version);
            for index in 0..ANNOUNCED_MAX {
                book.push(start(&index.to_string(), &[])).unwrap();
            }
            assert_eq!(book.push(start("more", &[])), Ok(None));
            assert_eq!(book.ignored(), 1);
            let typed = version.has_typed_announce();
            let end = |id: u64, suffix: &str| match typed {
                true => Announcement::EndId { id },
                false => Announcement::End { suffix: suffix.into() },
            };
            assert_eq!(book.push(end(ANNOUNCED_MAX as u64, "more")), Ok(None));
            assert_eq!(book.push(end(7, "7")), Ok(Some(AnnounceEvent::Ended { suffix: "7".into() })));
            assert!(book.push(start("again", &[])).unwrap().is_some());
            assert!(book.push(end(ANNOUNCED_MAX as u64 + 1, "again")).unwrap().is_some());
            if typed {
                let never = ANNOUNCED_MAX as u64 + 2;
                assert_eq!(book.push(end(never, "")), Err(AnnounceError::UnknownId(never)));
            }
        }
    }

    /// Whatever the sender's book says, the receiver's understands.
    #[test]
    fn both_sides_agree() {
        for version in Version::PREFERENCE {
            let (mut sender, mut receiver) = (Announcing::new(version), Announced::new(version));
            let mut seen = Vec::new();
            let mut tell = |messages: Vec<Announcement>| {
                for message in messages {
                    let mut bytes: BytesMut = message.to_bytes(version).into();
                    let message = Announcement::decode(&mut bytes, version).unwrap().unwrap();
                    assert!(bytes.is_empty());
                    seen.extend(receiver.push(message).unwrap());
                }
            };
            tell(sender.announce("a", route(&[1])));
            tell(sender.announce("b", route(&[1])));
            tell(sender.announce("a", route(&[1, 2])));
            tell(sender.announce("a", route(&[3])));
            tell(sender.end("b").into_iter().collect());
            tell(sender.end("b").into_iter().collect());
            tell(sender.announce("b", route(&[4])));
            tell(sender.end("a").into_iter().collect());
            let kinds: String = seen
                .iter()
                .map(|event| match event {
                    AnnounceEvent::Started { suffix, .. } => format!("+{suffix}"),
                    AnnounceEvent::Rerouted { suffix, .. } => format!("~{suffix}"),
                    AnnounceEvent::Ended { suffix } => format!("-{suffix}"),
                })
                .collect();
            let expected = if version >= Lite05 { "+a+b~a~a-b+b-a" } else { "+a+b-a+a-b+b-a" };
            assert_eq!(kinds, expected, "{version}");
        }
    }
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::PREFERENCE.to_vec())
}

fn varint() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=VARINT_MAX - 1]
}

fn range() -> impl Strategy<Value = Range> {
    (prop::option::of(varint()), prop::option::of(varint()), varint(), prop::option::of(varint())).prop_map(
        |(start, end, frame_start, frame_end)| Range {
            start,
            end,
            frame_start: if start.is_some() { frame_start } else { 0 },
            frame_end: frame_end.filter(|_| end.is_some()),
        },
    )
}

fn terms() -> impl Strategy<Value = Terms> {
    (any::<u8>(), any::<u8>(), 0..1_u64 << 52, range(), 0..=DOWNSTREAM_MAX).prop_map(
        |(priority, ordered, millis, range, downstream)| Terms {
            priority,
            ordered,
            max_age: Duration::from_millis(millis),
            range,
            downstream,
        },
    )
}

/// What is left of a message once a version has dropped the fields that it does not have.
fn settle<M: Message + PartialEq + Debug>(
    message: &M,
    version: Version,
    decode: impl Fn(&mut BytesMut, Version) -> Result<Option<M>, DecodeError>,
) {
    let first = message.to_bytes(version);
    let mut buf = first.clone().into();
    let settled = decode(&mut buf, version).unwrap().unwrap();
    assert!(!buf.has_remaining());
    assert_eq!(settled.to_bytes(version), first, "{version} {message:?} {settled:?}");
}

proptest! {
    #[test]
    fn subscriptions_round_trip(version in version(), id in varint(), terms in terms(), name in "[a-z/]{0,40}") {
        let terms = Terms { downstream: if version >= Lite05 { terms.downstream } else { 1 }, ..terms };
        let subscribe = Subscribe { id, broadcast: name.clone(), track: name, terms };
        settle(&subscribe, version, Subscribe::decode_extended);
        settle(&SubscribeUpdate(terms), version, SubscribeUpdate::decode_extended);
        if version == Lite06 && terms.range.start != Some(0) {
            let terms = Terms { ordered: 0, ..terms };
            let subscribe = Subscribe { terms, ..subscribe };
            prop_assert_eq!(
                Subscribe::decode_extended(&mut subscribe.to_bytes(version).into(), version),
                Ok(Some(subscribe))
            );
        }
    }

    #[test]
    fn routes_round_trip(version in version(), hops in prop::collection::hash_set(varint(), 0..33), cost in varint()) {
        let route = Route { hops: hops.into_iter().collect(), warm: cost, cold: cost };
        let start = Announcement::Start { suffix: "x".into(), route };
        settle(&start, version, Announcement::decode);
    }

    #[test]
    fn frames_round_trip(version in version(), frames in prop::collection::vec((0..1_u64 << 60, 0..1_usize << 25), 0..50)) {
        let (mut writer, mut reader) = (FrameHeads::new(version), FrameHeads::new(version));
        let mut bytes = BytesMut::new();
        for (timestamp, size) in &frames {
            writer.encode(*timestamp, *size, &mut bytes);
        }
        for (timestamp, size) in frames {
            let timestamp = (version >= Lite05).then_some(timestamp);
            prop_assert_eq!(reader.decode(&mut bytes), Ok(Some(FrameHead { timestamp, size })));
        }
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn random_bytes_never_panic(version in version(), bytes in prop::collection::vec(any::<u8>(), 0..200), shrink in 0..4_u8) {
        // Small leading bytes make plausible lengths, and so reach further.
        let bytes: Vec<u8> =
            bytes.iter().enumerate().map(|(at, byte)| if at < 8 { byte >> shrink } else { *byte }).collect();
        fn drain<M: Message>(bytes: &[u8], version: Version) {
            let mut buf = BytesMut::from(bytes);
            while let Ok(Some(_)) = M::decode(&mut buf, version) {}
        }
        drain::<Setup>(&bytes, version);
        drain::<AnnounceRequest>(&bytes, version);
        drain::<AnnounceOk>(&bytes, version);
        drain::<Announcement>(&bytes, version);
        drain::<Subscribe>(&bytes, version);
        drain::<SubscribeUpdate>(&bytes, version);
        drain::<SubscribeReply>(&bytes, version);
        drain::<Track>(&bytes, version);
        drain::<TrackInfo>(&bytes, version);
        drain::<Fetch>(&bytes, version);
        drain::<Probe>(&bytes, version);
        drain::<Goaway>(&bytes, version);
        drain::<GroupHead>(&bytes, version);
        let mut heads = FrameHeads::new(version);
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = heads.decode(&mut buf) {}
        let _ = Datagram::decode(bytes.into());
    }
}
