//! AMF0 values (Action Message Format 0), read with bounds.
//!
//! Every marker is understood; what we have no use for is read past. AMF3 values that a marker 0x11 brings in are read
//! if they are scalars. Written with `rml_amf0`.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use rml_amf0::Amf0Value;

/// Nesting: encoders use three levels.
const MAX_DEPTH: usize = 16;
/// Properties of one object: the longest `connect` has about fifteen, metadata about fifty.
const MAX_PROPERTIES: usize = 256;
/// Values in one body, nested ones included: each takes more memory than its byte on the wire.
const MAX_VALUES: usize = 4096;

/// Why values cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmfError {
    /// The body ends inside a value.
    #[error("AMF value is cut off")]
    Truncated,
    /// Nested deeper than anybody needs.
    #[error("AMF nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More properties or values than anybody needs.
    #[error("too many AMF values")]
    TooMany,
    /// A marker that means nothing.
    #[error("unknown AMF marker {0:#04x}")]
    Marker(u8),
    /// An AMF3 value other than a scalar.
    #[error("AMF3 value of type {0:#04x}")]
    Amf3(u8),
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, dates included (milliseconds since 1970).
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// A text of any kind; what is not UTF-8 is replaced.
    Text(String),
    /// An object, typed object or ECMA array: keys in order, possibly repeated.
    Object(Vec<(String, Self)>),
    /// A strict array.
    Array(Vec<Self>),
    /// Null, and what is read as such: references and reserved types.
    Null,
    /// Undefined or unsupported.
    Undefined,
}

impl Value {
    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The property `key` of an object; of repeated ones the last.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(properties) = self else { return None };
        properties.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the front of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, values: 0 }
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// [`AmfError`]; nothing can be read after it.
    pub fn next_value(&mut self) -> Result<Option<Value>, AmfError> {
        if self.rest.is_empty() { Ok(None) } else { self.value(0).map(Some) }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        if depth > MAX_DEPTH {
            return Err(AmfError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(AmfError::TooMany);
        }
        Ok(match self.take(1)?[0] {
            0x00 => Value::Number(self.take(8)?.get_f64()),
            0x01 => Value::Boolean(self.take(1)?[0] != 0),
            0x02 => Value::Text(self.short_text()?),
            0x03 => Value::Object(self.properties(depth, None)?),
            0x04 | 0x05 | 0x0e => Value::Null,
            0x06 | 0x0d => Value::Undefined,
            0x07 => {
                self.take(2)?;
                Value::Null
            }
            0x08 => {
                let hint = self.take(4)?.get_u32();
                Value::Object(self.properties(depth, Some(hint))?)
            }
            0x0a => self.array(depth)?,
            0x0b => {
                let millis = self.take(8)?.get_f64();
                self.take(2)?;
                Value::Number(millis)
            }
            0x0c | 0x0f => {
                let len = self.take(4)?.get_u32();
                Value::Text(self.text(len as usize)?)
            }
            0x10 => {
                self.short_text()?;
                Value::Object(self.properties(depth, None)?)
            }
            0x11 => self.amf3()?,
            marker => return Err(AmfError::Marker(marker)),
        })
    }

    /// Up to the end marker. An ECMA array's count is a hint: many are wrong, but some leave the end marker out.
    fn properties(&mut self, depth: usize, hint: Option<u32>) -> Result<Vec<(String, Value)>, AmfError> {
        let mut properties = Vec::new();
        loop {
            if self.rest.is_empty() && hint == Some(properties.len() as u32) {
                return Ok(properties);
            }
            if let Some(rest) = self.rest.strip_prefix(&[0, 0, 9]) {
                self.rest = rest;
                return Ok(properties);
            }
            if properties.len() == MAX_PROPERTIES {
                return Err(AmfError::TooMany);
            }
            let key = self.short_text()?;
            let value = self.value(depth + 1)?;
            properties.push((key, value));
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, AmfError> {
        let count = self.take(4)?.get_u32() as usize;
        // Each value has a byte at least.
        if count > self.rest.len() {
            return Err(AmfError::Truncated);
        }
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(values))
    }

    /// An AMF3 scalar.
    fn amf3(&mut self) -> Result<Value, AmfError> {
        Ok(match self.take(1)?[0] {
            0x00 => Value::Undefined,
            0x01 => Value::Null,
            0x02 => Value::Boolean(false),
            0x03 => Value::Boolean(true),
            0x04 => {
                // 29 bits with sign.
                let raw = self.u29()?;
                Value::Number(f64::from((raw << 3) as i32 >> 3))
            }
            0x05 => Value::Number(self.take(8)?.get_f64()),
            0x06 => {
                let header = self.u29()?;
                // The lowest bit says that the text follows, and is no reference.
                if header & 1 == 0 { Value::Null } else { Value::Text(self.text((header >> 1) as usize)?) }
            }
            other => return Err(AmfError::Amf3(other)),
        })
    }

    /// 7 bits per byte, the fourth has 8.
    fn u29(&mut self) -> Result<u32, AmfError> {
        let mut number = 0;
        for _ in 0..3 {
            let byte = self.take(1)?[0];
            number = number << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Ok(number << 8 | u32::from(self.take(1)?[0]))
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let len = self.take(2)?.get_u16();
        self.text(len.into())
    }

    fn text(&mut self, len: usize) -> Result<String, AmfError> {
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], AmfError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Writes `values` one after the other. Texts and keys are cut at 65,535 bytes, which nothing that we say reaches;
/// properties come in any order.
pub fn write(values: &[Value]) -> Bytes {
    let values: Vec<_> = values.iter().map(library_value).collect();
    rml_amf0::serialize(&values).map(Bytes::from).unwrap_or_default()
}

fn library_value(value: &Value) -> Amf0Value {
    match value {
        Value::Number(number) => Amf0Value::Number(*number),
        Value::Boolean(boolean) => Amf0Value::Boolean(*boolean),
        Value::Text(text) => Amf0Value::Utf8String(short(text).to_owned()),
        Value::Object(properties) => Amf0Value::Object(
            properties
                .iter()
                // An empty key would read as the end.
                .filter(|(key, _)| !key.is_empty())
                .map(|(key, value)| (short(key).to_owned(), library_value(value)))
                .collect::<HashMap<_, _>>(),
        ),
        Value::Array(values) => Amf0Value::StrictArray(values.iter().map(library_value).collect()),
        Value::Null => Amf0Value::Null,
        Value::Undefined => Amf0Value::Undefined,
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len().min(u16::MAX.into()))]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8]) -> Result<Vec<Value>, AmfError> {
        let mut reader = Reader::new(body);
        let mut values = Vec::new();
        while let Some(value) = reader.next_value()? {
            values.push(value);
        }
        Ok(values)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn line_39_every_marker_is_read() {
        let body = [
            &[0x00, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0][..],
            &[0x01, 1],
            &[0x02, 0, 1, b'a'],
            &[0x03, 0, 1, b'k', 0x05, 0, 0, 9],
            &[0x04],
            &[0x05],
            &[0x06],
            &[0x07, 0, 3],
            // An ECMA array that promises twenty and holds one, as OBS writes it.
            &[0x08, 0, 0, 0, 20, 0, 1, b'k', 0x01, 0, 0, 0, 9],
            &[0x0a, 0, 0, 0, 2, 0x05, 0x06],
            &[0x0b, 0x40, 0x8f, 0x40, 0, 0, 0, 0, 0, 0, 60],
            &[0x0c, 0, 0, 0, 2, b'l', b'o'],
            &[0x0d],
            &[0x0e],
            &[0x0f, 0, 0, 0, 3, b'<', b'/', b'>'],
            &[0x10, 0, 1, b'C', 0, 1, b'k', 0x05, 0, 0, 9],
            &[0x11, 0x04, 0x2a],
            &[0x11, 0x06, 0x05, b'h', b'i'],
        ]
        .concat();
        let object = Value::Object(vec![("k".to_owned(), Value::Null)]);
        assert_eq!(
            read(&body).expect("legal"),
            [
                Value::Number(1.0),
                Value::Boolean(true),
                text("a"),
                object.clone(),
                Value::Null,
                Value::Null,
                Value::Undefined,
                Value::Null,
                Value::Object(vec![("k".to_owned(), Value::Boolean(false))]),
                Value::Array(vec![Value::Null, Value::Undefined]),
                Value::Number(1000.0),
                text("lo"),
                Value::Undefined,
                Value::Null,
                text("</>"),
                object,
                Value::Number(42.0),
                text("hi"),
            ]
        );
    }

    #[test]
    fn an_ecma_array_may_end_with_the_body() {
        let body = [0x08, 0, 0, 0, 1, 0, 1, b'k', 0x05];
        assert_eq!(read(&body), Ok(vec![Value::Object(vec![("k".to_owned(), Value::Null)])]));
        let longer = [0x08, 0, 0, 0, 2, 0, 1, b'k', 0x05];
        assert_eq!(read(&longer), Err(AmfError::Truncated));
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let body = [0x03, 0, 1, b'k', 0x05, 0, 1, b'k', 0x01, 1, 0, 0, 9];
        assert_eq!(read(&body).expect("legal")[0].get("k"), Some(&Value::Boolean(true)));
    }

    #[test]
    fn a_hundred_thousand_levels_are_refused() {
        let arrays = [0x0a, 0, 0, 0, 1].repeat(100_000);
        assert_eq!(read(&arrays), Err(AmfError::TooDeep));
        let objects = [0x03, 0, 1, b'k'].repeat(100_000);
        assert_eq!(read(&objects), Err(AmfError::TooDeep));
    }

    #[test]
    fn counts_reserve_nothing() {
        assert_eq!(read(&[0x0a, 0xff, 0xff, 0xff, 0xff, 5]), Err(AmfError::Truncated));
        assert_eq!(read(&[0x0c, 0xff, 0xff, 0xff, 0xff, b'x']), Err(AmfError::Truncated));
        let many = [&[0x0a, 0, 0, 0xff, 0xff][..], &vec![5; 0xffff]].concat();
        assert_eq!(read(&many), Err(AmfError::TooMany));
        let wide = [&[0x03][..], &[0, 1, b'k', 5].repeat(300), &[0, 0, 9]].concat();
        assert_eq!(read(&wide), Err(AmfError::TooMany));
    }

    #[test]
    fn text_that_is_none_does_not_end_a_session() {
        assert_eq!(read(&[0x02, 0, 2, 0xff, b'a']), Ok(vec![text("\u{fffd}a")]));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (-1e9..1e9).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,40}".prop_map(Value::Text),
            Just(Value::Null),
            Just(Value::Undefined),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                // One property: the writer's order is not ours.
                ("[a-z]{1,8}", inner).prop_map(|(key, value)| Value::Object(vec![(key, value)])),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec(any_value(), 0..6)) {
            prop_assert_eq!(read(&write(&values)), Ok(values));
        }

        #[test]
        fn anything_may_come(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&body).ok();
        }
    }
}
