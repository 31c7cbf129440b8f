//! A record of the ledger as it leaves this machine, in the form of `docs/usage-record.schema.json`.

use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::wall;

/// The CloudEvents type of a record.
const EVENT_TYPE: &str = "moqgate.usage.v1";
/// The CloudEvents subject of what no tenant pays for: a subject cannot be empty.
const NO_TENANT: &str = "default";
const MILLIS_PER_SECOND: f64 = 1e3;

/// What one session used of one broadcast in one direction, in one interval.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Record {
    /// Its place in the ledger, which only grows.
    #[serde(skip)]
    pub(super) position: i64,
    /// When it ended, in milliseconds since the Unix epoch.
    #[serde(skip)]
    pub(super) to_ms: i64,
    id: String,
    sequence: i64,
    node: String,
    tenant: String,
    tier: String,
    protocol: String,
    path: String,
    session: String,
    direction: String,
    from: String,
    to: String,
    groups: i64,
    frames: i64,
    bytes: i64,
    fetches: i64,
    datagrams: i64,
    viewer_seconds: f64,
    publisher_seconds: f64,
    #[serde(rename = "final")]
    is_final: bool,
    reason: Option<String>,
}

impl Record {
    /// The oldest records after `position`.
    pub(super) fn after(connection: &Connection, position: i64, limit: u32) -> rusqlite::Result<Vec<Self>> {
        let mut query = connection.prepare(
            "SELECT r.position, a.boot, a.number, r.sequence, a.node, a.tenant, a.tier, a.protocol, a.path, a.session,
                 a.direction, r.from_ms, r.to_ms, r.groups, r.frames, r.bytes, r.fetches, r.datagrams, r.active_ms, r.reason
             FROM usage_records r JOIN usage_accounts a ON a.id = r.account
             WHERE r.position > ?1 ORDER BY r.position LIMIT ?2",
        )?;
        query.query_map(params![position, limit], Self::read)?.collect()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (boot, number, sequence): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let (node, session): (String, String) = (row.get(4)?, row.get(9)?);
        let direction: String = row.get(10)?;
        let active = row.get::<_, i64>(18)? as f64 / MILLIS_PER_SECOND;
        let (viewer_seconds, publisher_seconds) =
            if direction == "egress" { (active, 0.0) } else { (0.0, active) };
        let reason: Option<String> = row.get(19)?;
        Ok(Self {
            position: row.get(0)?,
            to_ms: row.get(12)?,
            id: format!("{node}/{boot}/{session}/{number}/{sequence}"),
            sequence,
            node,
            tenant: row.get(5)?,
            tier: row.get(6)?,
            protocol: row.get(7)?,
            path: row.get(8)?,
            session,
            direction,
            from: time(row.get(11)?),
            to: time(row.get(12)?),
            groups: row.get(13)?,
            frames: row.get(14)?,
            bytes: row.get(15)?,
            fetches: row.get(16)?,
            datagrams: row.get(17)?,
            viewer_seconds,
            publisher_seconds,
            is_final: reason.is_some(),
            reason,
        })
    }

    /// The record as a CloudEvent 1.0.
    pub(super) fn event(&self) -> Value {
        let node: String = url::form_urlencoded::byte_serialize(self.node.as_bytes()).collect();
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/moqgate/{node}"),
            "type": EVENT_TYPE,
            "subject": if self.tenant.is_empty() { NO_TENANT } else { &self.tenant },
            "time": self.to,
            "datacontenttype": "application/json",
            "data": self,
        })
    }
}

fn time(millis: i64) -> String {
    wall::rfc3339(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
}
