use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::error::Halt;
use super::super::layout::Format;
use super::super::reading::keys;
use super::{Broken, NAME, OnRow, Refused, open, row};
use crate::text::{LineError, Lines};

/// Bytes of a whole file's first line that are looked at.
const FIRST_LINE_BYTES: u64 = 16 << 20;

/// An object a line.
pub(super) fn lines(path: &Path, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Broken> {
    read_lines(path, open(path, done)?, on)
}

fn read_lines(path: &Path, reader: impl Read, on: &mut OnRow<'_>) -> Result<(), Broken> {
    for line in Lines::new(reader) {
        let place = |number: usize| format!("{}:{number}", path.display());
        let read = match line {
            Ok(line) => match serde_json::from_str(&line.text) {
                Ok(value) => row(place(line.number), value),
                Err(error) => {
                    let reason =
                        format!("not JSON: {}", error.to_string().replace("line 1 column", "column"));
                    Err(Refused { place: place(line.number), reason })
                }
            },
            Err(LineError::Text { number, reason }) => Err(Refused { place: place(number), reason }),
            Err(LineError::Io(error)) => return Err(Broken::File(format!("cannot be read on: {error}"))),
        };
        on(read)?;
    }
    Ok(())
}

/// One value: a list of rows, rows by their names, or lists of which one has the rows. Also lines, in spite of the
/// name.
pub(super) fn whole(path: &Path, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let mut reader = BufReader::with_capacity(1 << 16, open(path, done)?);
    let io = |error: std::io::Error| Broken::File(format!("cannot be read: {error}"));
    let mut first = Vec::new();
    while first.iter().all(u8::is_ascii_whitespace) {
        let before = first.len();
        reader.by_ref().take(FIRST_LINE_BYTES).read_until(b'\n', &mut first).map_err(io)?;
        if first.len() == before {
            break;
        }
    }
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first);
    let another =
        reader.fill_buf().map_err(io)?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let is_row = serde_json::from_slice::<Map<String, Value>>(first).is_ok_and(|fields| {
        another || Table::of(&fields).is_none() && Format::AUTO.of_row(&fields).is_some()
    });
    let start = Cursor::new(first.to_vec());
    if is_row {
        return read_lines(path, start.chain(reader), on);
    }
    let mut state = Whole { path, on, halt: None };
    let mut deserializer = serde_json::Deserializer::from_reader(start.chain(reader));
    let read = (&mut state).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (state.halt, read) {
        (Some(halt), _) => Err(Broken::Halt(halt)),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) if error.is_data() => Err(Broken::File(error.to_string())),
        (None, Err(error)) => Err(Broken::File(format!("not JSON: {error}"))),
    }
}

/// Two lists of a whole file, of which one names entries of the other.
struct Table {
    rows: &'static str,
    /// Under which a row names what it belongs to.
    id: &'static str,
    owners: &'static str,
    owner_id: &'static str,
    /// What a row has of its owner; null of one that is not there.
    taken: &'static str,
}

/// MSR-VTT's, and COCO's.
const TABLES: [Table; 2] = [
    Table { rows: "sentences", id: "video_id", owners: "videos", owner_id: "video_id", taken: "split" },
    Table { rows: "annotations", id: "image_id", owners: "images", owner_id: "id", taken: "file_name" },
];

impl Table {
    /// That which these are the parts of.
    fn of(fields: &Map<String, Value>) -> Option<&'static Self> {
        let has = |key: &str| fields.get(key).is_some_and(Value::is_array);
        TABLES.iter().find(|table| has(table.rows) && has(table.owners))
    }

    /// Its rows, each with what is its owner's.
    fn joined(&self, lists: &mut Map<String, Value>) -> Vec<Value> {
        let mut list = |key: &str| match lists.remove(key) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let (owners, mut rows) = (list(self.owners), list(self.rows));
        let owners = owners.into_iter().filter_map(|mut owner| {
            let id = owner.get(self.owner_id)?.to_string();
            Some((id, owner.get_mut(self.taken)?.take()))
        });
        let owners: HashMap<String, Value> = owners.collect();
        for fields in rows.iter_mut().filter_map(Value::as_object_mut) {
            let taken = fields.get(self.id).and_then(|id| owners.get(&id.to_string())).cloned();
            if taken.is_some() || !fields.contains_key(self.taken) {
                fields.insert(self.taken.to_owned(), taken.unwrap_or_default());
            }
        }
        rows
    }
}

struct Whole<'a, 'b> {
    path: &'a Path,
    on: &'a mut OnRow<'b>,
    halt: Option<Halt>,
}

impl Whole<'_, '_> {
    fn give<E: Error>(&mut self, what: fmt::Arguments<'_>, value: Value) -> Result<(), E> {
        let place = format!("{}: {what}", self.path.display());
        (self.on)(row(place, value)).map_err(|halt| {
            self.halt = Some(halt);
            E::custom("stopped")
        })
    }

    fn give_all<E: Error>(&mut self, values: Vec<Value>) -> Result<(), E> {
        let mut numbered = (1..).zip(values);
        numbered
            .try_for_each(|(number, value): (usize, Value)| self.give(format_args!("entry {number}"), value))
    }

    /// Rows out of lists by name.
    fn give_lists<E: Error>(&mut self, mut lists: Map<String, Value>) -> Result<(), E> {
        if let Some(table) = Table::of(&lists) {
            return self.give_all(table.joined(&mut lists));
        }
        let is_rows = |value: &Value| value.as_array().is_some_and(|rows| rows.iter().any(Value::is_object));
        let mut named: Vec<String> =
            lists.iter().filter(|(_, v)| is_rows(v)).map(|(key, _)| key.clone()).collect();
        match (named.pop(), named.is_empty()) {
            (Some(only), true) => match lists.remove(&only) {
                Some(Value::Array(rows)) => self.give_all(rows),
                _ => Ok(()),
            },
            (None, _) if lists.is_empty() => Ok(()),
            _ => Err(E::custom(format!(
                "an object of {} where a list of rows was expected, or rows by their names",
                keys(&lists)
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows, or rows by their names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0_usize;
        while let Some(value) = list.next_element::<Value>()? {
            number += 1;
            self.give(format_args!("entry {number}"), value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut others = Map::new();
        let mut named = 0_usize;
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            match value {
                Value::Object(mut fields) if key != "info" => {
                    named += 1;
                    fields.entry(NAME).or_insert_with(|| key.as_str().into());
                    self.give(format_args!("{key}"), Value::Object(fields))?;
                }
                value => drop(others.insert(key, value)),
            }
        }
        if named > 0 { Ok(()) } else { self.give_lists(others) }
    }
}
