//! What each kind of packet does.

use bytes::Bytes;

use super::connection::{CloseReason, Connection, State};
use super::limits::{ACK_INTERVAL, HEADER_BYTES, VIOLATIONS_MAX};
use super::receiver::{Place, Times};
use crate::crypto::Refresh;
use crate::wire::{Ack, Control, ControlBody, Data, KeyParity, Packet};

impl Connection {
    pub(super) fn dispatch(&mut self, datagram: Bytes) {
        if self.state != State::Open {
            self.stats.ignored.closed += 1;
            return;
        }
        match Packet::parse(datagram) {
            Err(_) => self.stats.ignored.malformed += 1,
            Ok(Packet::Data(Data { destination, .. }) | Packet::Control(Control { destination, .. }))
                if destination != self.local_id =>
            {
                self.stats.ignored.destination += 1;
            }
            Ok(Packet::Data(data)) => {
                self.last_heard = self.now;
                self.on_data(data);
            }
            Ok(Packet::Control(control)) => {
                self.last_heard = self.now;
                self.on_control(control);
            }
        }
    }

    fn on_data(&mut self, data: Data) {
        let place = self.receiver.place(data.seq);
        if place == Place::Far {
            self.stats.ignored.far_sequence += 1;
            return;
        }
        let bytes = data.payload.len() as u64 + HEADER_BYTES;
        self.stats.pkt_recv += 1;
        self.stats.byte_recv += bytes;
        self.received.add(bytes, self.now);
        if data.retransmitted {
            self.stats.pkt_rcv_retrans += 1;
        } else {
            self.arrivals.on_packet(data.seq, data.payload.len(), self.now);
        }
        match place {
            Place::At(index) => self.accept(index, data),
            Place::Duplicate => self.stats.pkt_rcv_duplicate += 1,
            Place::Belated | Place::Far => self.stats.pkt_rcv_belated += 1,
        }
    }

    fn accept(&mut self, index: u64, data: Data) {
        let placed = self.clock.place(data.timestamp, self.now);
        if placed.strange {
            self.stats.ignored.timestamp += 1;
        }
        let payload = match &self.crypto {
            Some(crypto) => crypto.decrypt(data.key, data.seq, data.payload),
            None => (data.key == KeyParity::Clear).then_some(data.payload),
        };
        if payload.is_some() {
            self.stats.pkt_recv_unique += 1;
        } else {
            self.stats.pkt_rcv_undecrypt += 1;
        }
        let hold = self.reorder.hold(&self.rtt);
        let times = Times { origin: placed.origin, now: self.now, hold };
        let stored = self.receiver.store(index, payload, times);
        self.stats.pkt_rcv_loss += stored.gap;
        if !data.retransmitted {
            self.reorder.on_original(stored.late);
        }
        self.acker.on_data();
    }

    fn on_control(&mut self, control: Control) {
        match control.body {
            ControlBody::KeepAlive | ControlBody::CongestionWarning | ControlBody::PeerError(_) => {}
            ControlBody::Ack(ack) => self.on_ack(&ack),
            ControlBody::Nak(body) => self.on_nak(&body),
            ControlBody::AckAck(number) => self.on_ackack(number, control.timestamp),
            ControlBody::Shutdown => self.end(CloseReason::PeerShutdown),
            ControlBody::DropRequest { first, last, .. } => {
                if !self.receiver.give_up(first, last) {
                    self.stats.ignored.drop_request += 1;
                }
            }
            ControlBody::KeyRequest(body) => self.on_key_request(&body),
            ControlBody::Handshake(_) => self.stats.ignored.handshake += 1,
            // We never announce keys of our own, so nothing awaits a reply.
            ControlBody::KeyReply(_) | ControlBody::Unknown { .. } => self.stats.ignored.unknown += 1,
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        if !self.sender.on_ack(ack, self.now) {
            self.stats.ignored.ack += 1;
            self.violation();
            return;
        }
        self.stats.pkt_recv_ack += 1;
        if let Some(detail) = ack.detail {
            self.rtt.adopt(detail.rtt, detail.rtt_var);
        }
        let due = match self.ackack {
            Some((number, at)) => number == ack.number || self.now - at >= ACK_INTERVAL,
            None => true,
        };
        if ack.number != 0 && due {
            self.ackack = Some((ack.number, self.now));
            self.send(ControlBody::AckAck(ack.number));
        }
    }

    fn on_nak(&mut self, body: &[u8]) {
        match self.sender.on_nak(body, self.now) {
            Ok(asked) => {
                self.stats.pkt_recv_nak += 1;
                self.stats.pkt_snd_loss += asked.packets;
                if let Some((first, last)) = asked.gone {
                    self.send(ControlBody::DropRequest { message: 0, first, last });
                }
            }
            Err(_) => {
                self.stats.ignored.nak += 1;
                self.violation();
            }
        }
    }

    fn on_ackack(&mut self, number: u32, timestamp: u32) {
        let Some(round_trip) = self.acker.on_ackack(number, self.now) else {
            self.stats.ignored.ackack += 1;
            return;
        };
        self.stats.pkt_recv_ackack += 1;
        self.rtt.sample(round_trip);
        self.clock.sample(timestamp, round_trip, self.now);
    }

    fn on_key_request(&mut self, body: &Bytes) {
        let now = self.epoch + std::time::Duration::from_micros(self.now.max(0) as u64);
        let answer = self.crypto.as_mut().map(|crypto| crypto.refresh(body, now));
        match answer {
            Some(Refresh::Reply(reply)) => self.send(ControlBody::KeyReply(reply)),
            Some(Refresh::TooSoon | Refresh::Refused(_)) | None => self.stats.ignored.key_request += 1,
        }
    }

    fn violation(&mut self) {
        self.violations += 1;
        if self.violations >= VIOLATIONS_MAX {
            self.end(CloseReason::Protocol);
        }
    }
}
