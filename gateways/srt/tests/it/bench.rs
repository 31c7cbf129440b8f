//! A listener in this process, and a caller made of nothing but datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moqgate_core::{Admission, Gate, OpenAdmission, Origin, OriginConfig, SessionSnapshot};
use moqgate_srt::wire::handshake::{CONCLUSION, INDUCTION};
use moqgate_srt::wire::{
    Control, ControlBody, Data, Extensions, Handshake, HsExtension, KeyParity, Packet, Seq,
};
use moqgate_srt::{Config, Listener, Metrics};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Generous: a busy machine must not fail a test, and a passing one never waits it out.
const LIMIT: Duration = Duration::from_secs(20);

/// A running listener; it ends with the value.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Gate,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::with(Config::default(), OpenAdmission)
    }

    pub(crate) fn with(config: Config, admission: impl Admission) -> Self {
        Self::on(Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config }, admission)
    }

    /// On the address of `config`.
    pub(crate) fn on(config: Config, admission: impl Admission) -> Self {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(admission));
        let listener = Listener::bind(config, gate.clone()).expect("a free port");
        let (address, metrics) = (listener.local_addr(), listener.metrics());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(shutdown.clone()));
        Self { address, metrics, gate, shutdown, tasks }
    }

    /// Stops the listener and waits for the end of it.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let end = tokio::time::timeout(LIMIT, self.tasks.join_next()).await;
        end.expect("the listener stops").expect("one task").expect("no panic");
    }

    pub(crate) fn session(&self, path: &str) -> Option<SessionSnapshot> {
        self.gate.origin().sessions().into_iter().find(|session| session.path.as_str() == path)
    }

    /// A number of the link of `path`; 0 while there is none.
    pub(crate) fn link(&self, path: &str, name: &str) -> f64 {
        self.session(path)
            .and_then(|session| session.link.into_iter().find(|(key, _)| *key == name))
            .map_or(0.0, |(_, value)| value)
    }

    /// Waits until `probe` holds.
    pub(crate) async fn until(&self, what: &str, mut probe: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !probe(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "{what}: not within {LIMIT:?}");
    }

    /// A metric by name and label value; 0 if there is none.
    pub(crate) fn sample(&self, name: &str, label: &str) -> u64 {
        let samples = self.metrics.samples();
        let found =
            samples.iter().find(|s| s.name == name && s.label.is_some_and(|(_, value)| value == label));
        found.map_or(0, |sample| sample.value)
    }
}

/// One UDP socket that plays callers.
pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    to: SocketAddr,
    /// Arrived and not asked for yet, by socket id.
    inbox: BTreeMap<u32, Vec<Packet>>,
}

/// A caller's name for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) id: u32,
    pub(crate) seq: u32,
}

impl Phone {
    pub(crate) async fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        Self { socket, to, inbox: BTreeMap::new() }
    }

    pub(crate) async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).await.expect("loopback");
    }

    /// The next packet to socket id `id`.
    pub(crate) async fn receive(&mut self, id: u32) -> Packet {
        if let Some(waiting) = self.inbox.get_mut(&id)
            && !waiting.is_empty()
        {
            return waiting.remove(0);
        }
        let mut buffer = [0; 2048];
        loop {
            let received = tokio::time::timeout(LIMIT, self.socket.recv(&mut buffer)).await;
            let len = received.expect("an answer in time").expect("loopback");
            let packet = Packet::parse(Bytes::copy_from_slice(&buffer[..len])).expect("a packet");
            let to = match &packet {
                Packet::Data(data) => data.destination,
                Packet::Control(control) => control.destination,
            };
            if to == id {
                return packet;
            }
            self.inbox.entry(to).or_default().push(packet);
        }
    }

    /// The next handshake to `id`.
    pub(crate) async fn handshake(&mut self, id: u32) -> Handshake {
        loop {
            if let Packet::Control(Control { body: ControlBody::Handshake(body), .. }) =
                self.receive(id).await
            {
                return Handshake::parse(body).expect("a handshake");
            }
        }
    }

    /// Asks for a cookie.
    pub(crate) async fn induct(&mut self, caller: Caller) -> u32 {
        self.send(&handshake_packet(induction(caller))).await;
        let reply = self.handshake(caller.id).await;
        assert_eq!((reply.kind, reply.extension), (INDUCTION, 0x4a17));
        reply.cookie
    }

    /// The whole handshake up to the answer.
    pub(crate) async fn call(&mut self, caller: Caller, blocks: &Extensions) -> Handshake {
        let cookie = self.induct(caller).await;
        self.send(&handshake_packet(conclusion(caller, cookie, blocks))).await;
        self.handshake(caller.id).await
    }

    /// Connects as publisher of `name` and returns the listener's socket id.
    pub(crate) async fn publish(&mut self, caller: Caller, name: &str) -> u32 {
        let reply = self.call(caller, &blocks(name)).await;
        assert_eq!(reply.kind, CONCLUSION, "accepted");
        assert_ne!(reply.socket_id, 0);
        reply.socket_id
    }

    /// Sends `count` packets of null TS packets, starting at sequence number `first`.
    pub(crate) async fn push(&self, to: u32, first: u32, count: u32) {
        for n in 0..count {
            let data = Data {
                seq: Seq::new(first).plus(n as i32),
                position: 3,
                in_order: true,
                key: KeyParity::Clear,
                retransmitted: false,
                message: n + 1,
                timestamp: n * 1000,
                destination: to,
                payload: null_packets(7),
            };
            self.send(&data.to_bytes()).await;
        }
    }

    pub(crate) async fn control(&self, to: u32, body: ControlBody) {
        self.send(&Control { timestamp: 0, destination: to, body }.to_bytes()).await;
    }
}

pub(crate) fn null_packets(count: usize) -> Bytes {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet.repeat(count).into()
}

pub(crate) fn hs_request() -> HsExtension {
    HsExtension { version: 0x10501, flags: 0xbf, receive_latency: 120, send_latency: 120 }
}

pub(crate) fn blocks(name: &str) -> Extensions {
    Extensions {
        request: Some(hs_request()),
        stream_id: Some(name.as_bytes().to_vec()),
        ..Extensions::default()
    }
}

pub(crate) fn induction(caller: Caller) -> Handshake {
    Handshake {
        version: 4,
        encryption: 0,
        extension: 2,
        initial_seq: caller.seq,
        mss: 1500,
        flow_window: 8192,
        kind: INDUCTION,
        socket_id: caller.id,
        cookie: 0,
        peer_ip: [0; 16],
        extensions: Bytes::new(),
    }
}

pub(crate) fn conclusion(caller: Caller, cookie: u32, blocks: &Extensions) -> Handshake {
    Handshake {
        version: 5,
        extension: blocks.field(),
        kind: CONCLUSION,
        cookie,
        extensions: blocks.to_bytes(),
        ..induction(caller)
    }
}

pub(crate) fn handshake_packet(handshake: Handshake) -> Bytes {
    Control { timestamp: 0, destination: 0, body: ControlBody::Handshake(handshake.to_bytes()) }.to_bytes()
}
