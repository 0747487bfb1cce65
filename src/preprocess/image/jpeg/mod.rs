//! Whether a JPEG file holds its whole picture.
//!
//! Decoders of JPEG paint over what is missing, and say so to nobody. Where a scan ends is told by its
//! entropy-coded data alone, so the codes are read here, without what they stand for: a picture is whole once
//! every block of every component has been seen. What lies behind it (further pictures, a film, padding,
//! nothing at all) does not matter.

mod headers;

use super::bits::{BitReader, HuffmanTable};
use headers::{BLOCK, Component, Frame, Scan, frame, scan_header, short};

/// What the data of a JPEG file amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every block is there. `ended` where the marker that ends a picture follows.
    Whole { ended: bool },
    /// The data end, or make no sense, before the picture is complete.
    Incomplete,
    /// Of a kind that is not looked into; the decoder has to say.
    Unknown,
}

/// A file as far as it has been looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Examined {
    pub(super) extent: Extent,
    /// Bytes of coefficients that a decoder has to keep: none where one scan holds all components.
    pub(super) coefficient_bytes: u64,
    /// Width, height and number of components, where it says so.
    pub(super) shape: Option<(usize, usize, usize)>,
}

/// Scans that are looked into, as many as the decoder reads.
const MAX_SCANS: usize = 100;

#[derive(Default)]
struct Tables {
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
}

/// Why a scan was not read to its end.
enum Stop {
    Incomplete,
    Unknown,
}

/// Looks into a file. One of more than `max_pixels` is left to the decoder.
pub(super) fn examine(bytes: &[u8], max_pixels: u64) -> Examined {
    let mut walk = Walk {
        bytes,
        at: 2,
        shape: None,
        frame: None,
        tables: Tables::default(),
        restart_interval: 0,
        scans: 0,
    };
    let extent = walk.extent(max_pixels);
    let coefficients = |frame: &Frame| -> u64 {
        let blocks = frame.components.iter().map(|component| component.stride * component.rows);
        blocks.sum::<usize>() as u64 * BLOCK as u64 * 2
    };
    let many_scans = |frame: &&Frame| frame.progressive || walk.scans > 1;
    let coefficient_bytes = walk.frame.as_ref().filter(many_scans).map_or(0, coefficients);
    Examined { extent, coefficient_bytes, shape: walk.shape }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    shape: Option<(usize, usize, usize)>,
    frame: Option<Frame>,
    tables: Tables,
    restart_interval: usize,
    scans: usize,
}

impl<'a> Walk<'a> {
    fn extent(&mut self, max_pixels: u64) -> Extent {
        loop {
            let Some(marker) = self.next_marker() else { return self.at_the_end(false) };
            match marker {
                // Markers without content.
                0x01 | 0xd0..=0xd8 => {}
                0xd9 => return self.at_the_end(true),
                _ => {
                    let Some(segment) = self.segment() else { return self.at_the_end(false) };
                    let step = match marker {
                        0xc0..=0xc2 if self.frame.is_none() => {
                            self.start_frame(segment, marker == 0xc2, max_pixels)
                        }
                        0xc4 => self.define_tables(segment),
                        0xc0..=0xcf => Err(Stop::Unknown),
                        0xdd => {
                            self.restart_interval = short(segment, 0).unwrap_or(0);
                            Ok(())
                        }
                        0xda => self.scan(segment),
                        _ => Ok(()),
                    };
                    match step {
                        Ok(()) => {}
                        Err(Stop::Incomplete) => return Extent::Incomplete,
                        Err(Stop::Unknown) => return Extent::Unknown,
                    }
                    if let Some(frame) = self.frame.as_ref().filter(|frame| !frame.progressive)
                        && frame.components.iter().all(|component| component.finest[0].is_some())
                    {
                        return Extent::Whole { ended: self.next_marker() == Some(0xd9) };
                    }
                }
            }
        }
    }

    /// Nothing follows that belongs to the picture.
    fn at_the_end(&self, ended: bool) -> Extent {
        let Some(frame) = &self.frame else { return Extent::Unknown };
        // Whoever ends a picture may leave out detail. Without an end every bit of every coefficient has to
        // be there.
        let is_there = |component: &Component| match ended {
            true => component.finest[0].is_some(),
            false => component.finest.iter().all(|bit| *bit == Some(0)),
        };
        if frame.components.iter().all(is_there) { Extent::Whole { ended } } else { Extent::Incomplete }
    }

    /// Goes behind the next marker.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte == 0xff)? + 1;
            while *self.bytes.get(self.at)? == 0xff {
                self.at += 1;
            }
            let marker = *self.bytes.get(self.at)?;
            self.at += 1;
            if marker != 0 {
                return Some(marker);
            }
        }
    }

    /// The content of a marker, which is gone behind.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let bytes = self.bytes;
        let length = short(bytes, self.at)?;
        let segment = bytes.get(self.at + 2..self.at + length.max(2))?;
        self.at += length.max(2);
        Some(segment)
    }

    fn start_frame(&mut self, segment: &[u8], progressive: bool, max_pixels: u64) -> Result<(), Stop> {
        let frame = frame(segment, progressive).ok_or(Stop::Unknown)?;
        self.shape = Some((frame.width, frame.height, frame.components.len()));
        if frame.width as u64 * frame.height as u64 > max_pixels {
            return Err(Stop::Unknown);
        }
        self.frame = Some(frame);
        Ok(())
    }

    fn define_tables(&mut self, mut segment: &[u8]) -> Result<(), Stop> {
        while let [head, rest @ ..] = segment {
            let (table, rest) = HuffmanTable::read(rest).ok_or(Stop::Unknown)?;
            let tables = if head >> 4 == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            *tables.get_mut(usize::from(head & 15)).ok_or(Stop::Unknown)? = Some(table);
            segment = rest;
        }
        Ok(())
    }

    fn scan(&mut self, segment: &[u8]) -> Result<(), Stop> {
        let frame = self.frame.as_mut().ok_or(Stop::Unknown)?;
        let scan = scan_header(segment, frame).ok_or(Stop::Unknown)?;
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(Stop::Unknown);
        }
        let mut bits = BitReader::new(self.bytes, self.at);
        let (mcus_in_a_row, mcu_rows) = match scan.components[..] {
            // A component by itself comes without the blocks that fill up MCUs.
            [only] => {
                let component = &frame.components[only];
                let across = (frame.width * component.horizontal).div_ceil(frame.max_horizontal * 8);
                (across, (frame.height * component.vertical).div_ceil(frame.max_vertical * 8))
            }
            _ => (
                frame.width.div_ceil(frame.max_horizontal * 8),
                frame.height.div_ceil(frame.max_vertical * 8),
            ),
        };
        let mut blocks = Blocks { bits: &mut bits, tables: &self.tables, scan: &scan, zero_blocks: 0 };
        let mut until_restart = self.restart_interval;
        for row in 0..mcu_rows {
            for column in 0..mcus_in_a_row {
                if self.restart_interval > 0 {
                    if until_restart == 0 {
                        blocks.bits.restart().ok_or(Stop::Incomplete)?;
                        blocks.zero_blocks = 0;
                        until_restart = self.restart_interval;
                    }
                    until_restart -= 1;
                }
                blocks.mcu(frame, row, column)?;
            }
            if blocks.bits.is_short() {
                return Err(Stop::Incomplete);
            }
        }
        for place in &scan.components {
            frame.components[*place].finest[scan.first..=scan.last].fill(Some(scan.bit));
        }
        self.at = bits.position();
        Ok(())
    }
}

/// Reads the blocks of a scan.
struct Blocks<'a, 'b> {
    bits: &'a mut BitReader<'b>,
    tables: &'a Tables,
    scan: &'a Scan,
    /// Blocks to come that hold nothing new, or nothing but refinements.
    zero_blocks: u32,
}

impl Blocks<'_, '_> {
    fn mcu(&mut self, frame: &mut Frame, row: usize, column: usize) -> Result<(), Stop> {
        let alone = self.scan.components.len() == 1;
        for place in &self.scan.components {
            let component = &mut frame.components[*place];
            let (across, down) = if alone { (1, 1) } else { (component.horizontal, component.vertical) };
            for y in 0..down {
                for x in 0..across {
                    let block = (row * down + y) * component.stride + column * across + x;
                    if frame.progressive {
                        self.progressive_block(component, block)?;
                    } else {
                        self.sequential_block(component)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn sequential_block(&mut self, component: &Component) -> Result<(), Stop> {
        let (dc, ac) =
            (table(&self.tables.dc, component.dc_table)?, table(&self.tables.ac, component.ac_table)?);
        self.difference(dc)?;
        let mut at = 1;
        while at < BLOCK {
            let symbol = self.bits.coefficient(ac).ok_or(Stop::Incomplete)?;
            match (symbol >> 4, symbol & 15) {
                (0..15, 0) => break,
                (zeros, _) => at += usize::from(zeros) + 1,
            }
        }
        Ok(())
    }

    fn progressive_block(&mut self, component: &mut Component, block: usize) -> Result<(), Stop> {
        match (self.scan.first, self.scan.refines) {
            (0, false) => self.difference(table(&self.tables.dc, component.dc_table)?),
            (0, true) => {
                self.bits.skip(1);
                Ok(())
            }
            (_, refines) => {
                let ac = table(&self.tables.ac, component.ac_table)?;
                if component.nonzero.is_empty() {
                    component.nonzero = vec![0; component.stride * component.rows];
                }
                let nonzero = component.nonzero.get_mut(block).ok_or(Stop::Unknown)?;
                if refines { self.refine(ac, nonzero) } else { self.first_pass(ac, nonzero) }
            }
        }
    }

    fn first_pass(&mut self, ac: &HuffmanTable, nonzero: &mut u64) -> Result<(), Stop> {
        if self.zero_blocks > 0 {
            self.zero_blocks -= 1;
            return Ok(());
        }
        let mut at = self.scan.first;
        while at <= self.scan.last {
            let (zeros, size) = self.run_and_size(ac)?;
            match (zeros, size) {
                (15, 0) => at += 16,
                (_, 0) => {
                    self.zero_blocks = (1 << zeros) + self.bits.take(zeros) - 1;
                    break;
                }
                _ => {
                    self.bits.skip(size);
                    at += zeros as usize;
                    *nonzero |= 1 << at.min(BLOCK - 1);
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn refine(&mut self, ac: &HuffmanTable, nonzero: &mut u64) -> Result<(), Stop> {
        let mut at = self.scan.first;
        if self.zero_blocks == 0 {
            while at <= self.scan.last {
                let (mut zeros, size) = self.run_and_size(ac)?;
                if size == 0 && zeros < 15 {
                    self.zero_blocks = (1 << zeros) + self.bits.take(zeros);
                    break;
                }
                if size > 0 {
                    self.bits.skip(1);
                }
                // Past as many zeros as the run says; what was not zero before is refined on the way.
                while at <= self.scan.last {
                    if *nonzero >> at & 1 == 1 {
                        self.bits.skip(1);
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    at += 1;
                }
                if size > 0 && at <= self.scan.last {
                    *nonzero |= 1 << at;
                }
                at += 1;
            }
        }
        if self.zero_blocks > 0 {
            if at <= self.scan.last {
                let band = (u64::MAX >> (BLOCK - 1 - self.scan.last)) & (u64::MAX << at);
                self.bits.skip((*nonzero & band).count_ones());
            }
            self.zero_blocks -= 1;
        }
        Ok(())
    }

    fn difference(&mut self, dc: &HuffmanTable) -> Result<(), Stop> {
        match self.bits.symbol(dc) {
            Some(size @ 0..=16) => {
                self.bits.skip(u32::from(size));
                Ok(())
            }
            _ => Err(Stop::Incomplete),
        }
    }

    fn run_and_size(&mut self, ac: &HuffmanTable) -> Result<(u32, u32), Stop> {
        let symbol = self.bits.symbol(ac).ok_or(Stop::Incomplete)?;
        Ok((u32::from(symbol >> 4), u32::from(symbol & 15)))
    }
}

fn table(tables: &[Option<HuffmanTable>; 4], place: usize) -> Result<&HuffmanTable, Stop> {
    tables.get(place).and_then(Option::as_ref).ok_or(Stop::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_without_sense_are_left_to_the_decoder() {
        for bytes in
            [&b""[..], b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\xff\xd8\xff\xc0\x00\x02", b"\xff\xd8\xff\xd9"]
        {
            assert_eq!(examine(bytes, u64::MAX).extent, Extent::Unknown, "{bytes:x?}");
        }
        let frame = |components: &[u8]| {
            let mut bytes = b"\xff\xd8\xff\xc0".to_vec();
            bytes.extend([0, 8 + components.len() as u8, 8, 0, 16, 0, 16, components.len() as u8 / 3]);
            bytes.extend(components);
            bytes
        };
        // Sampling factors of 0, a scan of nothing, tables that are not there.
        assert_eq!(examine(&frame(&[1, 0, 0]), u64::MAX).extent, Extent::Unknown);
        for scan in [&[0, 0, 0, 63, 0][..], &[1, 1, 0, 0, 63, 0], &[1, 2, 0, 0, 63, 0]] {
            let mut bytes = frame(&[1, 0x11, 0]);
            bytes.extend([0xff, 0xda, 0, 2 + scan.len() as u8]);
            bytes.extend(scan);
            assert_eq!(examine(&bytes, u64::MAX).extent, Extent::Unknown, "{scan:?}");
        }
        assert_eq!(examine(&frame(&[1, 0x11, 0]), u64::MAX).extent, Extent::Incomplete);
    }
}
