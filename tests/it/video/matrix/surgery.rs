//! Changes to the time stamps and bytes of finished files.

/// The times of a packet in frames: presentation and, where the container has them, decode time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    pub pts: f64,
    pub dts: Option<f64>,
}

/// Maps the number of a packet and its times to other times, or to none at all.
pub type Change<'a> = dyn Fn(usize, Times) -> Option<Times> + 'a;

/// Frames a second of all clips.
pub const RATE: f64 = 25.0;
const MPEG_TICKS: f64 = 90_000.0 / RATE;
const MPEG_WRAP: i64 = 1 << 33;
const MILLISECONDS: f64 = 1000.0 / RATE;
const TS_PACKET: usize = 188;

/// Changes the times in the PES headers of a transport stream.
pub fn transport_stream(bytes: &mut [u8], change: &Change) {
    let mut number = 0;
    for packet in bytes.chunks_exact_mut(TS_PACKET) {
        let starts = packet[1] & 0x40 != 0;
        let payload = match packet[3] & 0x30 {
            0x10 => 4,
            0x30 => 5 + usize::from(packet[4]),
            _ => continue,
        };
        if starts && packet.len() > payload + 19 && packet[payload..].starts_with(&[0, 0, 1, 0xe0]) {
            number += usize::from(pes_header(&mut packet[payload..], number, change));
        }
    }
}

/// Changes the times in the PES headers of a program stream.
pub fn program_stream(bytes: &mut [u8], change: &Change) {
    let mut number = 0;
    let starts: Vec<usize> = (0..bytes.len().saturating_sub(20))
        .filter(|&at| bytes[at..].starts_with(&[0, 0, 1, 0xe0]) && bytes[at + 6] & 0xc0 == 0x80)
        .collect();
    for at in starts {
        number += usize::from(pes_header(&mut bytes[at..], number, change));
    }
}

/// True where the header had times.
fn pes_header(pes: &mut [u8], number: usize, change: &Change) -> bool {
    let has_dts = match pes[7] >> 6 {
        2 => false,
        3 => true,
        _ => return false,
    };
    let in_frames = |ticks: i64| ticks as f64 / MPEG_TICKS;
    let pts = in_frames(read_stamp(&pes[9..14]));
    let dts = if has_dts { in_frames(read_stamp(&pes[14..19])) } else { pts };
    match change(number, Times { pts, dts: Some(dts) }) {
        None => {
            pes[7] &= 0x3f;
            let end = 9 + usize::from(pes[8]);
            pes[9..end].fill(0xff);
        }
        Some(times) => {
            write_stamp(&mut pes[9..14], times.pts);
            if has_dts {
                write_stamp(&mut pes[14..19], times.dts.unwrap_or(times.pts));
            }
        }
    }
    true
}

/// ISO/IEC 13818-1, 2.4.3.6: 33 bits among marker bits.
fn read_stamp(bytes: &[u8]) -> i64 {
    let part = |at: usize| i64::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]) >> 1);
    i64::from(bytes[0] >> 1 & 7) << 30 | part(1) << 15 | part(3)
}

fn write_stamp(bytes: &mut [u8], frames: f64) {
    let ticks = ((frames * MPEG_TICKS).round() as i64).rem_euclid(MPEG_WRAP);
    bytes[0] = bytes[0] & 0xf1 | ((ticks >> 30 & 7) << 1) as u8;
    for (at, shift) in [(1, 15), (3, 0)] {
        let part = ((ticks >> shift & 0x7fff) << 1 | 1) as u16;
        bytes[at..at + 2].copy_from_slice(&part.to_be_bytes());
    }
}

/// Changes the times of the blocks of a Matroska file. Stamps count from their cluster, which must not begin
/// late.
pub fn matroska(bytes: &mut [u8], change: &Change) {
    let mut number = 0;
    elements(bytes, 0, bytes.len(), &mut |bytes, at| {
        let track_bytes = 1;
        let at = at + track_bytes;
        let pts = f64::from(i16::from_be_bytes([bytes[at], bytes[at + 1]])) / MILLISECONDS;
        if let Some(times) = change(number, Times { pts, dts: None }) {
            let stamp = (times.pts * MILLISECONDS).round() as i16;
            bytes[at..at + 2].copy_from_slice(&stamp.to_be_bytes());
        }
        number += 1;
    });
}

/// Calls back with the start of the data of each block.
fn elements(bytes: &mut [u8], mut at: usize, end: usize, block: &mut dyn FnMut(&mut [u8], usize)) {
    const SEGMENT: u64 = 0x1853_8067;
    const CLUSTER: u64 = 0x1f43_b675;
    const BLOCK_GROUP: u64 = 0xa0;
    while at + 2 < end {
        let id_bytes = bytes[at].leading_zeros() as usize + 1;
        let id = number(&bytes[at..at + id_bytes], 0);
        let size_at = at + id_bytes;
        let size_bytes = bytes[size_at].leading_zeros() as usize + 1;
        let unknown = (1 << (7 * size_bytes)) - 1;
        let size = number(&bytes[size_at..size_at + size_bytes], size_bytes);
        let data = size_at + size_bytes;
        let data_end = if size == unknown { end } else { (data + size as usize).min(end) };
        match id {
            SEGMENT | CLUSTER | BLOCK_GROUP => elements(bytes, data, data_end, block),
            0xa3 | 0xa1 => block(bytes, data),
            _ => {}
        }
        at = data_end;
    }
}

/// A big-endian number, without the length mark of so many bits in its first byte.
fn number(bytes: &[u8], mark_bits: usize) -> u64 {
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    if mark_bits == 0 { value } else { value & !(1 << (7 * bytes.len())) }
}

/// Changes the decode times of the video tags of an FLV file; presentation times go along.
pub fn flash(bytes: &mut [u8], change: &Change) {
    let (mut at, mut packet) = (13, 0);
    while at + 16 < bytes.len() {
        let size =
            usize::from(bytes[at + 1]) << 16 | usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]);
        let is_picture = bytes[at] == 9 && !(bytes[at + 11] & 0xf == 7 && bytes[at + 12] != 1);
        if is_picture {
            let stamp = u32::from_be_bytes([bytes[at + 7], bytes[at + 4], bytes[at + 5], bytes[at + 6]]);
            let dts = f64::from(stamp) / MILLISECONDS;
            if let Some(times) = change(packet, Times { pts: dts, dts: Some(dts) }) {
                let [high, a, b, c] =
                    ((times.dts.unwrap_or(dts) * MILLISECONDS).round() as u32).to_be_bytes();
                bytes[at + 4..at + 8].copy_from_slice(&[a, b, c, high]);
            }
            packet += 1;
        }
        at += 11 + size + 4;
    }
}
