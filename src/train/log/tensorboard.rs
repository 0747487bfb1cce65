//! Scalars for TensorBoard: event files are TFRecords of `Event` messages
//! (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that scalars are appended to.
pub(super) struct EventFile {
    file: BufWriter<File>,
}

impl EventFile {
    /// A new file in `directory`. A run that goes on from `step` makes TensorBoard forget what an earlier
    /// file says of later steps.
    pub(super) fn create(directory: &Path, step: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads every file with this infix, in the order of their names.
        let name = format!("events.out.tfevents.{:010}.{:09}.gve", now.as_secs(), now.subsec_nanos());
        let file = File::create_new(directory.join(name))?;
        let mut events = Self { file: BufWriter::new(file) };
        events.write(&event(0, &bytes_field(3, b"brain.Event:2")))?;
        if step > 0 {
            const SESSION_START: u64 = 1;
            events.write(&event(step + 1, &bytes_field(7, &varint_field(1, SESSION_START))))?;
        }
        Ok(events)
    }

    /// Appends the scalars of a step.
    pub(super) fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut message = bytes_field(1, tag.as_bytes());
            message.push(2 << 3 | 5);
            message.extend((*value as f32).to_le_bytes());
            summary.extend(bytes_field(1, &message));
        }
        self.write(&event(step, &bytes_field(5, &summary)))
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(&record(data))?;
        self.file.flush()
    }
}

fn event(step: u64, what: &[u8]) -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut message = vec![1 << 3 | 1];
    message.extend(seconds.to_le_bytes());
    message.extend(varint_field(2, step));
    message.extend(what);
    message
}

fn varint_field(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    varint(value, &mut field);
    field
}

fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// The framing of tensorflow/core/lib/io/record_writer.h: length, its checksum, data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_standards() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(masked_crc(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn records_frame_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 7).unwrap();
        events.scalars(300, &[("loss".to_owned(), 1.5), ("share/t2v".to_owned(), 0.25)]).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(path.to_str().unwrap().contains("tfevents"));
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<8>().unwrap();
            let (check, after) = after.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*check), masked_crc(length));
            let (data, after) = after.split_at(u64::from_le_bytes(*length) as usize);
            let (check, after) = after.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*check), masked_crc(data));
            // Field 1, the wall time, as a double; the rest has no time in it.
            assert_eq!(data[0], 0x09);
            records.push(data[9..].to_vec());
            rest = after;
        }
        let mut scalars = vec![0x10, 0xAC, 0x02, 0x2A, 13 + 2 + 18];
        scalars.extend(b"\x0A\x0B\x0A\x04loss\x15\x00\x00\xC0\x3F");
        scalars.extend(b"\x0A\x10\x0A\x09share/t2v\x15\x00\x00\x80\x3E");
        scalars[4] = (scalars.len() - 5) as u8;
        let version = [&[0x10, 0x00, 0x1A, 13][..], b"brain.Event:2"].concat();
        assert_eq!(records, [version, vec![0x10, 8, 0x3A, 2, 0x08, 1], scalars]);
    }
}
