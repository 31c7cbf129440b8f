//! Stream keys in the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moqgate_core::{Pattern, Secret};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::secret::{generate, generate_id};
use super::spec::Fields;
use super::{Change, Digest, Key, NewKey, SpecError, Way, digest};
use crate::wall::millis;

const COLUMNS: &str = "id, digest, label, paths, direction, tier, tenant, created_ms, changed_ms, expires_ms, \
                       revoked_ms, passphrase, bitrate, viewers, minutes, used_seconds";

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// There is none of that id.
    #[error("there is no stream key {0:?}")]
    Unknown(String),
    /// It was revoked, which is for ever.
    #[error("the stream key {0:?} was revoked; make another one")]
    Revoked(String),
    /// The wish makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The database.
    #[error("stream keys: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Every key, the oldest first.
pub(super) fn all(db: &Connection) -> Result<Vec<Key>, KeyError> {
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM stream_keys ORDER BY created_ms, id"))?;
    let keys = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    Ok(keys)
}

/// Changes whenever a key does.
pub(super) fn version(db: &Connection) -> Result<i64, KeyError> {
    Ok(db.query_row("SELECT version FROM stream_keys_version", [], |row| row.get(0))?)
}

/// Makes a key, and its secret.
pub(super) fn add(db: &mut Connection, new: NewKey, now: SystemTime) -> Result<(Key, Secret), KeyError> {
    let fields = new.check()?;
    let (id, secret) = (generate_id(), generate());
    let change = db.transaction()?;
    change.execute(
        "INSERT INTO stream_keys VALUES (:id, :digest, :label, :paths, :direction, :tier, :tenant, :now, :now, \
         :expires, NULL, :passphrase, :bitrate, :viewers, :minutes, 0)",
        named_params! {
            ":id": id,
            ":digest": digest(secret.expose()),
            ":label": fields.label,
            ":paths": to_json(&fields.paths),
            ":direction": fields.way.as_str(),
            ":tier": fields.tier,
            ":tenant": fields.tenant,
            ":now": millis(now),
            ":expires": fields.expires.map(millis),
            ":passphrase": fields.passphrase.as_ref().map(Secret::expose),
            ":bitrate": number(fields.bitrate),
            ":viewers": number(fields.viewers),
            ":minutes": number(fields.minutes),
        },
    )?;
    bump(&change)?;
    let key = get(&change, &id)?;
    change.commit()?;
    Ok((key, secret))
}

/// Changes what a key allows.
pub(super) fn change(db: &mut Connection, id: &str, wish: Change) -> Result<Key, KeyError> {
    let change = db.transaction()?;
    let fields = wish.apply(&valid(&change, id)?)?;
    write(&change, id, &fields)?;
    bump(&change)?;
    let key = get(&change, id)?;
    change.commit()?;
    Ok(key)
}

/// Takes a key back for ever.
pub(super) fn revoke(db: &mut Connection, id: &str, now: SystemTime) -> Result<Key, KeyError> {
    let change = db.transaction()?;
    let sql = "UPDATE stream_keys SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
    change.execute(sql, params![id, millis(now)])?;
    bump(&change)?;
    let key = get(&change, id)?;
    change.commit()?;
    Ok(key)
}

/// Gives a key another secret. The old one ends with it.
pub(super) fn rotate(db: &mut Connection, id: &str, now: SystemTime) -> Result<(Key, Secret), KeyError> {
    let change = db.transaction()?;
    valid(&change, id)?;
    let secret = generate();
    let sql = "UPDATE stream_keys SET digest = ?2, changed_ms = ?3 WHERE id = ?1";
    change.execute(sql, params![id, digest(secret.expose()), millis(now)])?;
    bump(&change)?;
    let key = get(&change, id)?;
    change.commit()?;
    Ok((key, secret))
}

/// Takes seconds off the minutes of a key.
pub(super) fn spend(db: &mut Connection, spent: &[(String, u64)]) -> Result<(), KeyError> {
    let change = db.transaction()?;
    for (id, seconds) in spent {
        let sql = "UPDATE stream_keys SET used_seconds = used_seconds + ?2 WHERE id = ?1";
        change.execute(sql, params![id, number(Some(*seconds))])?;
    }
    change.commit()?;
    Ok(())
}

fn get(db: &Connection, id: &str) -> Result<Key, KeyError> {
    let sql = format!("SELECT {COLUMNS} FROM stream_keys WHERE id = ?1");
    db.query_row(&sql, [id], read).optional()?.ok_or_else(|| KeyError::Unknown(id.to_owned()))
}

fn valid(db: &Connection, id: &str) -> Result<Key, KeyError> {
    let key = get(db, id)?;
    if key.revoked.is_some() { Err(KeyError::Revoked(id.to_owned())) } else { Ok(key) }
}

fn write(db: &Connection, id: &str, fields: &Fields) -> Result<(), KeyError> {
    db.execute(
        "UPDATE stream_keys SET label = :label, paths = :paths, direction = :direction, tier = :tier, \
         tenant = :tenant, expires_ms = :expires, passphrase = :passphrase, bitrate = :bitrate, \
         viewers = :viewers, minutes = :minutes WHERE id = :id",
        named_params! {
            ":id": id,
            ":label": fields.label,
            ":paths": to_json(&fields.paths),
            ":direction": fields.way.as_str(),
            ":tier": fields.tier,
            ":tenant": fields.tenant,
            ":expires": fields.expires.map(millis),
            ":passphrase": fields.passphrase.as_ref().map(Secret::expose),
            ":bitrate": number(fields.bitrate),
            ":viewers": number(fields.viewers),
            ":minutes": number(fields.minutes),
        },
    )?;
    Ok(())
}

fn bump(db: &Connection) -> Result<(), KeyError> {
    db.execute("UPDATE stream_keys_version SET version = version + 1", [])?;
    Ok(())
}

fn to_json(paths: &[Pattern]) -> String {
    serde_json::Value::from(paths.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string()
}

fn number(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

fn at(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Key> {
    let digest: Digest = row.get("digest")?;
    let paths: String = row.get("paths")?;
    let paths: Vec<String> = serde_json::from_str(&paths).unwrap_or_default();
    let way = match row.get_ref("direction")?.as_str()? {
        "publish" => Way::Publish,
        "both" => Way::Both,
        _ => Way::Play,
    };
    let optional = |name: &str| row.get::<_, Option<i64>>(name);
    let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    Ok(Key {
        id: row.get("id")?,
        digest,
        label: row.get("label")?,
        // A pattern that cannot be read allows nothing.
        paths: paths.iter().filter_map(|text| Pattern::new(text).ok()).collect(),
        way,
        tier: row.get::<_, String>("tier")?.into(),
        tenant: row.get::<_, String>("tenant")?.into(),
        created: at(row.get("created_ms")?),
        changed: at(row.get("changed_ms")?),
        expires: optional("expires_ms")?.map(at),
        revoked: optional("revoked_ms")?.map(at),
        passphrase: row.get::<_, Option<String>>("passphrase")?.map(|text| Secret::new(&text)),
        bitrate: count(optional("bitrate")?),
        viewers: count(optional("viewers")?),
        minutes: count(optional("minutes")?),
        used: count(Some(row.get("used_seconds")?)).unwrap_or_default(),
    })
}
