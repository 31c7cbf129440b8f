//! Commands (RTMP 7.2): what a client asks for, as far as we serve it.

use bytes::Bytes;

use super::amf0::{AmfError, Reader, Value, write};

/// Arguments that are read of one command; the longest that we serve has six.
const MAX_ARGUMENTS: usize = 16;
/// FourCCs that are remembered of one list: enhanced RTMP knows twelve.
const MAX_FOURCCS: usize = 32;

/// What a client wants. `txn` is the transaction number that the answer carries; 0 asks for none.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The first one.
    Connect(Box<Connect>),
    /// `releaseStream`.
    ReleaseStream {
        /// Transaction.
        txn: f64,
    },
    /// `FCPublish`, from FMLE and those who imitate it.
    FcPublish {
        /// Transaction.
        txn: f64,
        /// Stream key.
        key: String,
    },
    /// `FCUnpublish`.
    FcUnpublish {
        /// Stream key.
        key: String,
    },
    /// `createStream`.
    CreateStream {
        /// Transaction.
        txn: f64,
    },
    /// `publish`.
    Publish {
        /// Stream key, possibly empty, possibly with a query.
        key: String,
    },
    /// `play`.
    Play {
        /// Stream key.
        key: String,
    },
    /// `getStreamLength`.
    GetStreamLength {
        /// Transaction.
        txn: f64,
    },
    /// `deleteStream`. Its argument may be the stream's id, its name or nothing.
    DeleteStream,
    /// `closeStream`.
    CloseStream,
    /// What needs no more than an empty result: `_checkbw`, `FCSubscribe`, `ping`.
    Courtesy {
        /// Transaction.
        txn: f64,
    },
    /// An answer or a status; a server asks for none.
    Answer,
    /// Anything else.
    Unknown {
        /// Its name, cut at 64 bytes.
        name: String,
        /// Transaction.
        txn: f64,
    },
}

/// What `connect` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connect {
    /// Transaction.
    pub txn: f64,
    /// Application: all of the URL's path but its last segment, possibly with a query.
    pub app: String,
    /// `scheme://host:port/app`, if it was sent.
    pub tc_url: Option<String>,
    /// The client's program.
    pub flash_ver: Option<String>,
    /// What it can do with enhanced RTMP.
    pub capabilities: Capabilities,
}

/// What a client announced (enhanced RTMP v1 and v2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// FourCCs that it can decode or forward; `*` is all.
    pub fourccs: Vec<String>,
    /// `capsEx`: 1 reconnect, 2 multitrack, 4 `ModEx`, 8 nanosecond offsets.
    pub caps_ex: u8,
}

impl Capabilities {
    /// Whether the client said that it can take the codec `fourcc`.
    pub fn knows(&self, fourcc: &str) -> bool {
        self.fourccs.iter().any(|known| known == "*" || known == fourcc)
    }
}

/// A command or an answer as it was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its name; `_result` or `_error` of an answer.
    pub name: String,
    /// Transaction.
    pub txn: f64,
    /// The command object, or null, and what follows.
    pub arguments: Vec<Value>,
}

impl Said {
    /// Reads the body of a command message. `amf3` is for type 17, whose first byte selects nothing.
    ///
    /// # Errors
    /// [`AmfError`] if not even name and transaction can be read, or if the body is hostile.
    pub fn parse(body: &[u8], amf3: bool) -> Result<Self, AmfError> {
        // Some leave the format byte out; then a text marker comes first.
        let body = if amf3 { body.strip_prefix(&[0]).unwrap_or(body) } else { body };
        let mut reader = Reader::new(body);
        let name = reader.next_value()?;
        let Some(Value::Text(name)) = name else { return Err(AmfError::Truncated) };
        let txn = reader.next_value()?.and_then(|value| value.as_number()).unwrap_or_default();
        let mut arguments = Vec::new();
        while arguments.len() < MAX_ARGUMENTS {
            match reader.next_value() {
                Ok(Some(value)) => arguments.push(value),
                Ok(None) => break,
                Err(error @ (AmfError::TooDeep | AmfError::TooMany)) => return Err(error),
                // What is of use usually stands in front.
                Err(AmfError::Truncated | AmfError::Marker(_) | AmfError::Amf3(_)) => break,
            }
        }
        Ok(Self { name, txn, arguments })
    }
}

/// `CanDecode` and `CanForward` of the FourCC maps.
const CAN_RECEIVE: u8 = 1 | 4;

impl Command {
    /// Reads the body of a command message. `amf3` is for type 17, whose first byte selects nothing.
    ///
    /// # Errors
    /// [`AmfError`] if not even name and transaction can be read, or if the body is hostile.
    pub fn parse(body: &[u8], amf3: bool) -> Result<Self, AmfError> {
        let Said { name, txn, arguments } = Said::parse(body, amf3)?;
        Ok(Self::understand(&name, txn, &arguments))
    }

    fn understand(name: &str, txn: f64, arguments: &[Value]) -> Self {
        // The first argument is the command object.
        let key = || arguments.get(1).and_then(Value::as_text).unwrap_or_default().to_owned();
        match name {
            "connect" => {
                Self::Connect(Box::new(Connect::new(txn, arguments.first().unwrap_or(&Value::Null))))
            }
            "releaseStream" => Self::ReleaseStream { txn },
            "FCPublish" => Self::FcPublish { txn, key: key() },
            "FCUnpublish" => Self::FcUnpublish { key: key() },
            "createStream" => Self::CreateStream { txn },
            "publish" => Self::Publish { key: key() },
            "play" => Self::Play { key: key() },
            "getStreamLength" => Self::GetStreamLength { txn },
            "deleteStream" => Self::DeleteStream,
            "closeStream" => Self::CloseStream,
            "_checkbw" | "checkBandwidth" | "FCSubscribe" | "ping" => Self::Courtesy { txn },
            "_result" | "_error" | "onStatus" => Self::Answer,
            _ => Self::Unknown { name: name[..name.floor_char_boundary(name.len().min(64))].to_owned(), txn },
        }
    }
}

impl Connect {
    fn new(txn: f64, object: &Value) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_text).map(unquoted);
        Self {
            txn,
            app: text("app").unwrap_or_default(),
            tc_url: text("tcUrl").or_else(|| text("tcurl")),
            flash_ver: text("flashVer"),
            capabilities: Capabilities::new(object),
        }
    }
}

/// Some encoders put the values into quotes.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
}

impl Capabilities {
    fn new(object: &Value) -> Self {
        let mut capabilities = Self::default();
        capabilities.add(object);
        capabilities
    }

    /// Adds what `object` says, if it says anything: the properties of `connect`, or one of the objects in its answer.
    pub fn add(&mut self, object: &Value) {
        if let Some(Value::Array(list)) = object.get("fourCcList") {
            self.fourccs.extend(list.iter().filter_map(Value::as_text).map(str::to_owned));
        }
        for map in ["videoFourCcInfoMap", "audioFourCcInfoMap"] {
            if let Some(Value::Object(entries)) = object.get(map) {
                let can = entries
                    .iter()
                    .filter(|(_, bits)| bits.as_number().is_some_and(|bits| bits as u8 & CAN_RECEIVE != 0));
                self.fourccs.extend(can.map(|(fourcc, _)| fourcc.clone()));
            }
        }
        self.fourccs.truncate(MAX_FOURCCS);
        self.caps_ex |= object.get("capsEx").and_then(Value::as_number).unwrap_or_default() as u8;
    }
}

/// The body of a command or an answer: name, transaction, then `arguments`.
pub fn body(name: &str, txn: f64, arguments: Vec<Value>) -> Bytes {
    let mut values = vec![Value::Text(name.to_owned()), Value::Number(txn)];
    values.extend(arguments);
    write(&values)
}

/// An object of `properties`.
pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `hex`, white space ignored.
    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex"))
            .collect()
    }

    #[test]
    fn connect_of_ffmpeg_5() {
        let body = bytes(
            "020007636f6e6e656374 003ff0000000000000 03 0003617070 0200046c697665 000474797065
             02000a6e6f6e70726976617465 0008666c617368566572 020024464d4c452f332e302028636f6d70617469626c653b
             204c61766635392e32372e31303029 00057463 55726c
             02001b72746d703a2f2f3132372e302e302e313a31393335312f6c697665 000009",
        );
        assert_eq!(body.len(), 0x8c);
        let Ok(Command::Connect(connect)) = Command::parse(&body, false) else { panic!("connect") };
        assert_eq!(
            *connect,
            Connect {
                txn: 1.0,
                app: "live".to_owned(),
                tc_url: Some("rtmp://127.0.0.1:19351/live".to_owned()),
                flash_ver: Some("FMLE/3.0 (compatible; Lavf59.27.100)".to_owned()),
                capabilities: Capabilities::default(),
            }
        );
    }

    #[test]
    fn connect_announces_codecs() {
        let body = bytes(
            "020007636f6e6e656374 003ff0000000000000 03 0003617070 0200046c697665
             000a666f757243634c697374 0a00000004 02000468766331 02000461763031 02000476703039 0200044f707573
             000009",
        );
        let Ok(Command::Connect(connect)) = Command::parse(&body, false) else { panic!("connect") };
        assert_eq!(connect.capabilities.fourccs, ["hvc1", "av01", "vp09", "Opus"]);
        assert!(connect.capabilities.knows("av01") && !connect.capabilities.knows("avc1"));
        assert_eq!(connect.tc_url, None);
    }

    #[test]
    fn maps_of_version_2_count_what_can_be_received() {
        let map = object([
            ("hvc1", Value::Number(1.0)),
            ("av01", Value::Number(2.0)),
            ("vp09", Value::Number(6.0)),
        ]);
        let connect = object([("videoFourCcInfoMap", map), ("capsEx", Value::Number(7.0))]);
        let capabilities = Capabilities::new(&connect);
        assert!(capabilities.knows("hvc1") && capabilities.knows("vp09") && !capabilities.knows("av01"));
        assert_eq!(capabilities.caps_ex, 7);
        let all = object([("audioFourCcInfoMap", object([("*", Value::Number(4.0))]))]);
        assert!(Capabilities::new(&all).knows("Opus"));
    }

    #[test]
    fn commands_of_publishers_and_players() {
        let key = "mykey?token=abc";
        for (hex, command) in [
            (
                "02000d72656c6561736553747265616d 004000000000000000 05 02000f6d796b65793f746f6b656e3d616263",
                Command::ReleaseStream { txn: 2.0 },
            ),
            ("02000c63726561746553747265616d 004010000000000000 05", Command::CreateStream { txn: 4.0 }),
            (
                "0200077075626c697368 004014000000000000 05 02000f6d796b65793f746f6b656e3d616263 0200046c697665",
                Command::Publish { key: key.to_owned() },
            ),
            (
                "020004706c6179 004010000000000000 05 0200056d796b6579 00c09f400000000000",
                Command::Play { key: "mykey".to_owned() },
            ),
            (
                "02000c64656c65746553747265616d 00401c000000000000 05 003ff0000000000000",
                Command::DeleteStream,
            ),
        ] {
            assert_eq!(Command::parse(&bytes(hex), false), Ok(command));
        }
    }

    #[test]
    fn line_43_gstreamer_deletes_by_name_and_publishes_without_transaction() {
        let delete = body("deleteStream", 0.0, vec![Value::Null, Value::Text("cam0".to_owned())]);
        assert_eq!(Command::parse(&delete, false), Ok(Command::DeleteStream));
        let publish = body("publish", 0.0, vec![Value::Null, Value::Text("cam0".to_owned())]);
        assert_eq!(Command::parse(&publish, false), Ok(Command::Publish { key: "cam0".to_owned() }));
    }

    #[test]
    fn amf3_commands_are_amf0_behind_a_byte() {
        let plain = body("createStream", 4.0, vec![Value::Null]);
        let with_byte = [&[0][..], &plain].concat();
        assert_eq!(Command::parse(&with_byte, true), Ok(Command::CreateStream { txn: 4.0 }));
        assert_eq!(Command::parse(&plain, true), Ok(Command::CreateStream { txn: 4.0 }));
    }

    #[test]
    fn line_51_short_commands_are_survived() {
        assert_eq!(Command::parse(&[], false), Err(AmfError::Truncated));
        assert_eq!(Command::parse(&[0x05], false), Err(AmfError::Truncated));
        let name_only = write(&[Value::Text("connect".to_owned())]);
        assert_eq!(Command::parse(&name_only, false), Ok(Command::Connect(Box::default())));
        let no_key = body("publish", 5.0, vec![]);
        assert_eq!(Command::parse(&no_key, false), Ok(Command::Publish { key: String::new() }));
    }

    #[test]
    fn a_hostile_argument_is_not_read_around() {
        let mut connect = body("connect", 1.0, vec![]).to_vec();
        connect.extend([0x0a, 0, 0, 0, 1].repeat(100));
        assert_eq!(Command::parse(&connect, false), Err(AmfError::TooDeep));
    }
}
