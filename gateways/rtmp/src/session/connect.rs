//! Waiting for `connect`.

use super::error::SessionError;
use super::start::AwaitStart;
use super::wire::Wire;
use crate::proto::amf0::Value;
use crate::proto::command::{Command, Connect, object};

/// `capsEx` of what we can read: 2 multitrack, 4 `ModEx` (enhanced RTMP v2).
const CAPS_EX: f64 = 6.0;
/// `CanForward` of the FourCC maps: nothing is decoded here.
const CAN_FORWARD: f64 = 4.0;

/// The first command has to be `connect`.
#[derive(Debug, Default)]
pub(super) struct AwaitConnect;

impl AwaitConnect {
    pub(super) fn command(self, wire: &mut Wire, command: Command) -> Result<AwaitStart, SessionError> {
        let Command::Connect(connect) = command else {
            return Err(SessionError::Order("the first command is not connect"));
        };
        wire.greet();
        accept(wire, &connect);
        Ok(AwaitStart::new(*connect))
    }
}

fn accept(wire: &mut Wire, connect: &Connect) {
    let text = |text: &str| Value::Text(text.to_owned());
    let all = || object([("*", Value::Number(CAN_FORWARD))]);
    let server = object([("fmsVer", text("FMS/3,0,1,123")), ("capabilities", Value::Number(31.0))]);
    let info = object([
        ("level", text("status")),
        ("code", text("NetConnection.Connect.Success")),
        ("description", text("Connection succeeded.")),
        ("objectEncoding", Value::Number(0.0)),
        ("fourCcList", Value::Array(vec![text("*")])),
        ("videoFourCcInfoMap", all()),
        ("audioFourCcInfoMap", all()),
        ("capsEx", Value::Number(CAPS_EX)),
    ]);
    // It has to have one: clients wait for it.
    let txn = if connect.txn == 0.0 { 1.0 } else { connect.txn };
    wire.answer("_result", txn, vec![server, info]);
}
