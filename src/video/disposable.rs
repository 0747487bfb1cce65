//! H.264 packets that no other packet needs, told by their first bytes.

/// How the NAL units of an H.264 stream are put into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalFraming {
    /// Start codes between them (ITU-T H.264, annex B).
    StartCodes,
    /// Each behind its length in so many bytes (ISO/IEC 14496-15).
    Lengths(usize),
}

impl NalFraming {
    /// Reads it off the codec's extra data, which begins with version 1 where it is an
    /// `AVCDecoderConfigurationRecord`.
    pub(super) fn of_extradata(extradata: &[u8]) -> Self {
        match extradata {
            [1, _, _, _, lengths, ..] => Self::Lengths(usize::from(lengths & 3) + 1),
            _ => Self::StartCodes,
        }
    }
}

/// Whether a packet holds nothing but pictures that no other refers to (`nal_ref_idc` 0). False in doubt.
pub(super) fn is_disposable(packet: &[u8], framing: NalFraming) -> bool {
    let mut rest = packet;
    let mut slices = 0;
    while !rest.is_empty() {
        let nal = match framing {
            NalFraming::StartCodes => after_start_code(rest),
            NalFraming::Lengths(bytes) => split_length(rest, bytes),
        };
        let Some((&header, after)) = nal.and_then(|(nal, after)| Some((nal.first()?, after))) else {
            return false;
        };
        // Table 7-1: slices of non-IDR pictures and their partitions, then SEI, delimiters and filler.
        match header & 0x1f {
            1..=4 if header & 0x60 == 0 => slices += 1,
            6 | 9 | 12 => {}
            _ => return false,
        }
        rest = after;
    }
    slices > 0
}

/// The NAL unit behind a length, and what follows it.
fn split_length(data: &[u8], bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, data) = data.split_at_checked(bytes)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    data.split_at_checked(length)
}

/// What follows the first start code, and the same from the next start code on.
fn after_start_code(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let find = |data: &[u8]| data.windows(3).position(|bytes| bytes == [0, 0, 1]);
    let nal = data.get(find(data)? + 3..)?;
    let after = find(nal).map_or(&[][..], |next| nal.get(next..).unwrap_or_default());
    Some((nal, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: [u8; 3] = [0x41, 0x9a, 0x02];
    const UNREFERENCED: [u8; 3] = [0x01, 0x9e, 0x03];
    const KEY: [u8; 3] = [0x65, 0x88, 0x84];
    const SEI: [u8; 3] = [0x06, 0x05, 0x80];
    const PARAMETERS: [u8; 3] = [0x67, 0x64, 0x1f];

    #[test]
    fn only_unreferenced_slices_are_disposable() {
        let table: [(&[[u8; 3]], bool); 8] = [
            (&[UNREFERENCED], true),
            (&[SEI, UNREFERENCED, UNREFERENCED], true),
            (&[REFERENCE], false),
            (&[KEY], false),
            (&[UNREFERENCED, REFERENCE], false),
            (&[PARAMETERS, UNREFERENCED], false),
            (&[SEI], false),
            (&[], false),
        ];
        for (nals, expected) in table {
            let start_codes: Vec<u8> =
                nals.iter().flat_map(|nal| [&[0, 0, 0, 1], &nal[..]].concat()).collect();
            assert_eq!(is_disposable(&start_codes, NalFraming::StartCodes), expected, "{nals:x?}");
            for bytes in [1, 2, 4] {
                let length = &3_u32.to_be_bytes()[4 - bytes..];
                let lengths: Vec<u8> = nals.iter().flat_map(|nal| [length, &nal[..]].concat()).collect();
                assert_eq!(
                    is_disposable(&lengths, NalFraming::Lengths(bytes)),
                    expected,
                    "{nals:x?} behind {bytes} bytes"
                );
            }
        }
    }

    #[test]
    fn broken_packets_are_not_disposable() {
        for packet in
            [&[0, 0, 0][..], &[0, 0, 0, 9, 1, 2], &[0, 0, 0, 0], &[0, 0, 0, 2, 1, 2, 0, 0], &[0xff; 4]]
        {
            assert!(!is_disposable(packet, NalFraming::Lengths(4)), "{packet:x?}");
        }
        for packet in [&[1, 2, 3][..], &[0, 0, 1]] {
            assert!(!is_disposable(packet, NalFraming::StartCodes), "{packet:x?}");
        }
    }

    #[test]
    fn extradata_tells_the_framing() {
        let table: [(&[u8], NalFraming); 4] = [
            (&[1, 0x64, 0, 0x1f, 0xff, 0xe1], NalFraming::Lengths(4)),
            (&[1, 0x64, 0, 0x1f, 0xfd, 0xe1], NalFraming::Lengths(2)),
            (&[0, 0, 0, 1, 0x67], NalFraming::StartCodes),
            (&[], NalFraming::StartCodes),
        ];
        for (extradata, expected) in table {
            assert_eq!(NalFraming::of_extradata(extradata), expected, "{extradata:x?}");
        }
    }
}
