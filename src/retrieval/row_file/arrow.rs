//! Arrow's files and streams, with one message in memory at a time. What a message says of its sizes is held against
//! what there is of the file before anything of such a size is allocated.
//!
//! Format: <https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc>

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{CompressionType, Message, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;
use parquet::basic::{Compression, ZstdLevel};

use crate::retrieval::columns::ReadFailure;
use crate::retrieval::parquet_file::{GRANTED_BYTES, guarded, most_expansion};

/// What a file begins with that is not a stream: messages as in a stream, then a description of them, its length and
/// the first six of these bytes follow.
const FILE_MAGIC: &[u8; 8] = b"ARROW1\0\0";
/// Bytes behind the description.
const TAIL_BYTES: u64 = 10;
/// What stands before the length of a message since release 0.15.
const CONTINUATION: u32 = u32::MAX;
/// Values that are granted to any message: nulls take no room.
const GRANTED_VALUES: u64 = 1 << 20;
/// Bytes in front of a packed buffer, which say how long it is unpacked.
const PREFIX_BYTES: usize = 8;
/// What they say where it is not packed.
const NOT_PACKED: i64 = -1;

/// A file or stream whose messages are read in their order.
pub(super) struct ArrowFile<R> {
    reader: R,
    position: u64,
    /// Where the last message ends.
    end: u64,
    /// Batches that a file is to have, as its description says; a stream has none.
    described: Option<usize>,
    batches: usize,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl<R: Read + Seek> ArrowFile<R> {
    pub(super) fn open(mut reader: R) -> Result<Self, ReadFailure> {
        let end = reader.seek(SeekFrom::End(0)).map_err(ReadFailure::Open)?;
        reader.rewind().map_err(ReadFailure::Open)?;
        let (schema, dictionaries) = (None, HashMap::new());
        let mut file = Self { reader, position: 0, end, described: None, batches: 0, schema, dictionaries };
        let magic = FILE_MAGIC.len() as u64;
        match end >= magic && file.take("a mark", magic)? == FILE_MAGIC {
            true => file.describe()?,
            false => file.go(0)?,
        }
        Ok(file)
    }

    /// Reads the description at the end of a file.
    fn describe(&mut self) -> Result<(), ReadFailure> {
        let start = self.position;
        self.go(self.end.saturating_sub(TAIL_BYTES).max(start))?;
        let tail = self.take("an end", self.end - self.position)?;
        let length = match tail.split_first_chunk() {
            Some((length, magic))
                if magic == &FILE_MAGIC[..magic.len()] && tail.len() as u64 == TAIL_BYTES =>
            {
                u32::from_le_bytes(*length).into()
            }
            _ => return Err("it is cut short: ARROW1 was expected at its end".to_owned().into()),
        };
        let room = self.end - TAIL_BYTES - start;
        let Some(before) = room.checked_sub(length) else {
            return Err(format!(
                "a description of {length} bytes at its end, where there is room for {room}"
            )
            .into());
        };
        self.go(start + before)?;
        let footer = self.take("a description", length)?;
        let footer = root_as_footer(&footer).map_err(|error| format!("its description: {error}"))?;
        self.described = Some(footer.recordBatches().map_or(0, |batches| batches.len()));
        self.end = start + before;
        self.go(start)
    }

    fn go(&mut self, position: u64) -> Result<(), ReadFailure> {
        self.reader.seek(SeekFrom::Start(position)).map_err(ReadFailure::Open)?;
        self.position = position;
        Ok(())
    }

    /// The next `length` bytes, which are said to be `what`.
    fn take(&mut self, what: &str, length: u64) -> Result<Vec<u8>, ReadFailure> {
        let (position, left) = (self.position, self.end - self.position);
        if length > left {
            return Err(format!("{what} of {length} bytes at byte {position}, where {left} are left").into());
        }
        let mut bytes = room_for(length)?;
        let read = (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(ReadFailure::Open)?;
        if read as u64 != length {
            return Err(format!("{what} of {length} bytes at byte {position}, of which {read} came").into());
        }
        self.position += length;
        Ok(bytes)
    }

    /// The next batch.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, ReadFailure> {
        while let Some(length) = self.next_length()? {
            let position = self.position;
            let at = |reason: String| format!("its message at byte {position}: {reason}");
            let message = self.take("a message", length)?;
            let message = root_as_message(&message).map_err(|error| at(error.to_string()))?;
            let length = message.bodyLength();
            let length = u64::try_from(length).map_err(|_| at(format!("a body of {length} bytes")))?;
            let body = Buffer::from_vec(self.take("a body", length)?);
            if let Some(batch) = self.read(&message, &body).map_err(at)? {
                self.batches += 1;
                return Ok(Some(batch));
            }
        }
        let left = self.end - self.position;
        match self.described {
            _ if self.schema.is_none() => Err("it ends before its schema does".to_owned().into()),
            None if left > 0 => Err(format!("{left} bytes behind its end").into()),
            Some(batches) if batches != self.batches => {
                Err(format!("{} batches, where its description says {batches}", self.batches).into())
            }
            _ => Ok(None),
        }
    }

    /// The length of the next message; none at the end.
    fn next_length(&mut self) -> Result<Option<u64>, ReadFailure> {
        if self.position == self.end {
            return Ok(None);
        }
        let mut number = || {
            let bytes = self.take("the length of a message", 4)?;
            Ok::<u32, ReadFailure>(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
        };
        let length = match number()? {
            CONTINUATION => number()?,
            length => length,
        };
        Ok((length > 0).then_some(length.into()))
    }

    /// The batch in a message, if it is one.
    fn read(&mut self, message: &Message<'_>, body: &Buffer) -> Result<Option<RecordBatch>, String> {
        let version = message.version();
        let schema = || self.schema.clone().ok_or("values before a schema");
        if let Some(batch) = message.header_as_record_batch() {
            check(&batch, body)?;
            let schema = schema()?;
            let read = || read_record_batch(body, batch, schema, &self.dictionaries, None, &version);
            return guarded(read).map(Some);
        }
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            check(&dictionary.data().ok_or("a dictionary without values")?, body)?;
            let schema = schema()?;
            guarded(|| read_dictionary(body, dictionary, &schema, &mut self.dictionaries, &version))?;
        } else if let Some(schema) = message.header_as_schema().filter(|_| self.schema.is_none()) {
            self.schema = Some(Arc::new(guarded(|| try_fb_to_schema(schema))?));
        } else if message.header_type() != MessageHeader::NONE {
            return Err(format!("{:?} where values were expected", message.header_type()));
        }
        Ok(None)
    }
}

/// Checks what a batch says of its sizes, whose values lie in `body`.
fn check(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    let codec = batch.compression().map(|compression| compression.codec());
    let mut unpacked = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (buffer.offset(), buffer.length());
        let start = usize::try_from(offset).ok();
        let end =
            start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
        let bytes = start.zip(end).and_then(|(start, end)| body.get(start..end));
        let bytes =
            bytes.ok_or_else(|| format!("{length} bytes from byte {offset} of a body of {}", body.len()))?;
        let stored = bytes.len() as u64;
        let said = bytes.first_chunk::<PREFIX_BYTES>().map(|prefix| i64::from_le_bytes(*prefix));
        let length = match (codec, said) {
            (Some(_), Some(said)) if said != NOT_PACKED => {
                u64::try_from(said).map_err(|_| format!("{stored} bytes that claim to unpack to {said}"))?
            }
            _ => stored,
        };
        unpacked = unpacked.saturating_add(length);
    }
    if let Some(codec) = codec {
        let codec = match codec {
            CompressionType::LZ4_FRAME => Compression::LZ4,
            _ => Compression::ZSTD(ZstdLevel::default()),
        };
        let stored = body.len() as u64;
        if unpacked > GRANTED_BYTES.max(stored.saturating_mul(most_expansion(codec))) {
            return Err(format!("{stored} bytes that claim to unpack to {unpacked}"));
        }
        drop(room_for(unpacked)?);
    }
    let most = GRANTED_VALUES.max(unpacked.saturating_mul(8));
    let is_plausible = |count: i64, most: u64| u64::try_from(count).is_ok_and(|count| count <= most);
    let nodes = batch.nodes().into_iter().flatten().map(|node| (node.length(), node.null_count()));
    for (length, nulls) in nodes.chain([(batch.length(), 0)]) {
        if !is_plausible(length, most) || !is_plausible(nulls, length.unsigned_abs()) {
            return Err(format!("{length} values, {nulls} of them null, in {unpacked} bytes"));
        }
    }
    Ok(())
}

/// Room for so many bytes.
fn room_for(bytes: u64) -> Result<Vec<u8>, String> {
    let mut room = Vec::new();
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    room.try_reserve_exact(length).map_err(|_| format!("{bytes} bytes, for which there is no memory"))?;
    Ok(room)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use serde_json::{Map, Value};

    use super::super::RowFile;
    use super::*;
    use crate::retrieval::RetrievalError;

    /// Of pyarrow and `datasets`: files, packed and not, and a stream with bytes in it.
    const FILES: [&str; 4] = [
        "triplets.plain.arrow",
        "triplets.lz4.arrow",
        "triplets.zstd.arrow",
        "images_on_disk/data-00000-of-00001.arrow",
    ];
    /// Sizes of nothing that a file of a few kilobytes holds.
    const ABSURD: [i64; 7] = [-2, i64::MIN, i64::MAX, i64::MAX / 8, 1 << 62, 1 << 40, 1 << 33];

    fn bytes_of(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pairs/columns");
        std::fs::read(folder.join(name)).unwrap()
    }

    /// The rows of a file of these bytes, as importing has them.
    fn rows(path: &Path, bytes: &[u8]) -> Result<Vec<Map<String, Value>>, String> {
        std::fs::write(path, bytes).unwrap();
        let mut rows = Vec::new();
        let read = RowFile::Arrow.for_each_row(path, &mut |bytes, _| Ok(bytes.len().into()), |row| {
            rows.push(row.unwrap_or_default());
            Ok::<(), RetrievalError>(())
        });
        // Another is written sooner than this one again.
        std::fs::remove_file(path).unwrap();
        read.map(|()| rows).map_err(|error| error.to_string())
    }

    /// Where sizes of 4 and of 8 bytes stand, what each is of, and how many bytes it has.
    fn sizes(bytes: &[u8]) -> Vec<(usize, &'static str, usize)> {
        let mut file = ArrowFile::open(Cursor::new(bytes)).unwrap();
        let mut found = vec![];
        if file.described.is_some() {
            found.push((bytes.len() - TAIL_BYTES as usize, "description", 4));
        }
        while let Some(length) = file.next_length().unwrap() {
            let start = file.position as usize;
            found.push((start - 4, "message", 4));
            let described = file.take("a message", length).unwrap();
            let message = root_as_message(&described).unwrap();
            let field = |table: &Message<'_>, field| {
                start + table._tab.loc() + usize::from(table._tab.vtable().get(field))
            };
            if message.bodyLength() > 0 {
                found.push((field(&message, Message::VT_BODYLENGTH), "body", 8));
            }
            let body = file.position as usize;
            file.take("a body", message.bodyLength() as u64).unwrap();
            let Some(batch) = message.header_as_record_batch() else { continue };
            let at = batch._tab.vtable().get(arrow_ipc::RecordBatch::VT_LENGTH);
            found.push((start + batch._tab.loc() + usize::from(at), "rows", 8));
            let inside = |part: &[u8]| start + part.as_ptr() as usize - described.as_ptr() as usize;
            let nodes = inside(batch.nodes().unwrap().bytes());
            let nodes = (0..2 * batch.nodes().unwrap().len()).map(|number| (nodes + 8 * number, "node", 8));
            let buffers = inside(batch.buffers().unwrap().bytes());
            let ends =
                (0..2 * batch.buffers().unwrap().len()).map(|number| (buffers + 8 * number, "buffer", 8));
            found.extend(nodes.chain(ends));
            if batch.compression().is_some() {
                let packed = batch.buffers().unwrap().iter().filter(|buffer| buffer.length() > 0);
                found.extend(packed.map(|buffer| (body + buffer.offset() as usize, "packed", 8)));
            }
        }
        found
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absurd.arrow");
        for name in FILES {
            let whole = bytes_of(name);
            assert!(!rows(&path, &whole).unwrap().is_empty());
            let sizes = sizes(&whole);
            assert!(sizes.len() > 20, "{name}: {sizes:?}");
            for (at, what, length) in sizes {
                for absurd in ABSURD.iter().filter(|absurd| length == 8 || **absurd as u32 != 0) {
                    let mut bytes = whole.clone();
                    bytes[at..at + length].copy_from_slice(&absurd.to_le_bytes()[..length]);
                    let said = rows(&path, &bytes).expect_err(&format!("{name}: {what} at {at} of {absurd}"));
                    assert!(said.contains("absurd.arrow: not an Arrow file, or damaged: "), "{said}");
                    assert_eq!(said.lines().count(), 1, "{said}");
                }
            }
        }
    }

    #[test]
    fn any_byte_may_be_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrong.arrow");
        for name in FILES {
            let whole = bytes_of(name);
            let (mut read, mut refused) = (0, 0);
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] = [0, 0xff, whole[at] ^ 1, whole[at] ^ 0x80][at % 4];
                match rows(&path, &bytes) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
            assert!(read > 0 && refused > 0, "{name}: {read} read, {refused} refused");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.arrow");
        for name in FILES {
            let whole = bytes_of(name);
            for length in 0..whole.len() {
                // A stream need not say that it ends, so that it may do so between two messages.
                let read = rows(&path, &whole[..length]);
                let said = read.map(|rows| rows.len().to_string()).unwrap_or_else(|said| said);
                let is_told = said.contains("cut.arrow: not an Arrow file, or damaged: ");
                assert!(is_told || name.contains("on_disk") && ["0", "3"].contains(&said.as_str()), "{said}");
            }
        }
    }
}
