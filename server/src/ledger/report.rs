//! Sums of the ledger over a period, and the three ways to write them.
//!
//! A record belongs to the period in which it ends, so that reports of periods that follow one another count each record once.

use std::fmt::Write as _;
use std::time::SystemTime;

use clap::ValueEnum;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value};

use crate::store::StoreError;
use crate::wall;

/// What a line can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// The machine.
    Node,
    /// Who pays.
    Tenant,
    /// The label that splits usage.
    Tier,
    /// How the payload moved.
    Protocol,
    /// The broadcast.
    Path,
    /// The connection.
    Session,
}

/// The period, and what makes a line.
#[derive(Debug)]
pub(crate) struct Query {
    /// Exclusive.
    pub(crate) from: Option<SystemTime>,
    /// Inclusive.
    pub(crate) to: Option<SystemTime>,
    /// Beside the direction, which always does.
    pub(crate) by: Vec<Column>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be read.
    #[error("cannot read the ledger: {0}")]
    Read(#[from] rusqlite::Error),
}

/// One line: what was asked for, and its sums.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    keys: Vec<String>,
    sums: [i64; SUMS.len()],
}

/// Names of the sums, and how they are made. Time is in milliseconds.
const SUMS: [(&str, &str); 8] = [
    ("groups", "SUM(r.groups)"),
    ("frames", "SUM(r.frames)"),
    ("bytes", "SUM(r.bytes)"),
    ("fetches", "SUM(r.fetches)"),
    ("datagrams", "SUM(r.datagrams)"),
    ("viewer_seconds", "SUM(iif(a.direction = 'egress', r.active_ms, 0))"),
    ("publisher_seconds", "SUM(iif(a.direction = 'ingress', r.active_ms, 0))"),
    ("records", "COUNT(*)"),
];
const MILLIS_PER_SECOND: i64 = 1000;

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Tenant => "tenant",
            Self::Tier => "tier",
            Self::Protocol => "protocol",
            Self::Path => "path",
            Self::Session => "session",
        }
    }
}

impl Query {
    fn keys(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.by.iter().map(|column| column.name()).collect();
        names.push("direction");
        names
    }

    fn sql(&self) -> String {
        let keys = self.keys().iter().map(|name| format!("a.{name}")).collect::<Vec<_>>().join(", ");
        let sums = SUMS.map(|(_, sql)| sql).join(", ");
        format!(
            "SELECT {keys}, {sums} FROM usage_records r JOIN usage_accounts a ON a.id = r.account
             WHERE r.to_ms > ?1 AND r.to_ms <= ?2 GROUP BY {keys} ORDER BY {keys}"
        )
    }
}

/// Adds up the records of a period.
pub(crate) fn read(connection: &Connection, query: &Query) -> Result<Vec<Line>, ReportError> {
    let from = query.from.map_or(i64::MIN, wall::millis);
    let to = query.to.map_or(i64::MAX, wall::millis);
    let keys = query.keys().len();
    let line = |row: &Row<'_>| {
        let mut sums = [0; SUMS.len()];
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = row.get(keys + index)?;
        }
        Ok(Line { keys: (0..keys).map(|index| row.get(index)).collect::<Result<_, _>>()?, sums })
    };
    let mut statement = connection.prepare(&query.sql())?;
    let lines = statement.query_map(params![from, to], line)?.collect::<Result<_, _>>()?;
    Ok(lines)
}

impl Line {
    fn cells(&self) -> impl Iterator<Item = String> {
        let sums = SUMS.iter().zip(self.sums).map(|((name, _), sum)| match is_time(name) {
            true => format!("{}.{:03}", sum / MILLIS_PER_SECOND, sum % MILLIS_PER_SECOND),
            false => sum.to_string(),
        });
        self.keys.iter().cloned().chain(sums)
    }
}

fn is_time(name: &str) -> bool {
    name.ends_with("_seconds")
}

fn header(query: &Query) -> impl Iterator<Item = &'static str> {
    query.keys().into_iter().chain(SUMS.map(|(name, _)| name))
}

/// Comma-separated values (RFC 4180).
pub(crate) fn csv(query: &Query, lines: &[Line]) -> String {
    let mut text = header(query).collect::<Vec<_>>().join(",") + "\r\n";
    for line in lines {
        let cells: Vec<_> = line.cells().map(quoted).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

fn quoted(cell: String) -> String {
    match cell.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

/// An array of objects.
pub(crate) fn json(query: &Query, lines: &[Line]) -> String {
    let keys = query.keys();
    let object = |line: &Line| {
        let mut object = Map::new();
        for (name, value) in keys.iter().zip(&line.keys) {
            object.insert((*name).to_owned(), Value::from(value.as_str()));
        }
        for ((name, _), sum) in SUMS.iter().zip(line.sums) {
            let value = if is_time(name) { Value::from(sum as f64 / 1e3) } else { Value::from(sum) };
            object.insert((*name).to_owned(), value);
        }
        Value::Object(object)
    };
    format!("{:#}\n", Value::Array(lines.iter().map(object).collect()))
}

/// Columns of equal width: names to the left, numbers to the right.
pub(crate) fn table(query: &Query, lines: &[Line]) -> String {
    let keys = query.keys().len();
    let mut rows = vec![header(query).map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(lines.iter().map(|line| line.cells().collect()));
    let mut widths = vec![0; keys + SUMS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            let _ = match index < keys {
                true => write!(text, "{gap}{cell:<width$}"),
                false => write!(text, "{gap}{cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Store;

    const RECORDS: &str = "
        INSERT INTO usage_accounts VALUES
            (1, 'n', 1, 1, 'acme, \"inc\"', '', 'srt', 'live/a', 's1', 'ingress', 0),
            (2, 'n', 1, 2, '', '', 'moq', 'live/a', 's2', 'egress', 1);
        INSERT INTO usage_records VALUES
            (1, 1, 0, 0, 1000, 1, 10, 100, 0, 0, 1000, NULL),
            (2, 1, 1, 1000, 2000, 2, 20, 200, 0, 0, 1000, NULL),
            (3, 2, 0, 1500, 1800, 1, 5, 50, 1, 0, 300, 'left');";

    fn ledger() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("a folder");
        let connection = Store::open(folder.path()).and_then(|store| store.connect()).expect("a database");
        connection.execute_batch(RECORDS).expect("records");
        (folder, connection)
    }

    fn all(by: &[Column]) -> Query {
        Query { from: None, to: None, by: by.to_vec() }
    }

    #[test]
    fn periods_that_follow_one_another_count_each_record_once() {
        let (_folder, connection) = ledger();
        let at = |millis| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        let bytes = |from, to| {
            let lines = read(&connection, &Query { from, to, by: vec![] }).expect("read");
            lines.iter().map(|line| line.sums[2]).sum::<i64>()
        };
        assert_eq!(bytes(None, None), 350);
        assert_eq!((bytes(None, at(1000)), bytes(at(1000), at(1800)), bytes(at(1800), None)), (100, 50, 200));
    }

    #[test]
    fn each_format_says_the_same() {
        let (_folder, connection) = ledger();
        let query = all(&[Column::Tenant, Column::Path]);
        let lines = read(&connection, &query).expect("read");
        assert_eq!(
            csv(&query, &lines),
            "tenant,path,direction,groups,frames,bytes,fetches,datagrams,viewer_seconds,publisher_seconds,records\r\n\
             ,live/a,egress,1,5,50,1,0,0.300,0.000,1\r\n\
             \"acme, \"\"inc\"\"\",live/a,ingress,3,30,300,0,0,0.000,2.000,2\r\n"
        );
        let parsed: Value = serde_json::from_str(&json(&query, &lines)).expect("JSON");
        assert_eq!(parsed[1]["tenant"], "acme, \"inc\"");
        assert_eq!(
            (&parsed[0]["viewer_seconds"], &parsed[1]["bytes"]),
            (&Value::from(0.3), &Value::from(300))
        );
        let table = table(&query, &lines);
        let widths: Vec<_> = table.lines().map(str::len).collect();
        assert!(table.lines().count() == 3 && widths.iter().all(|width| *width == widths[0]), "{table}");
    }

    #[test]
    fn every_column_can_make_a_line() {
        let (_folder, connection) = ledger();
        for column in Column::value_variants() {
            let lines = read(&connection, &all(&[*column])).expect("read");
            assert_eq!(lines.len(), 2, "{column:?}");
        }
    }
}
