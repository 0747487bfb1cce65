//! Bits and Huffman codes of JPEG's entropy-coded data (ITU-T T.81, annexes C and F).

/// Bits that are looked up at once; longer codes are rare.
const FAST_BITS: u32 = 9;
const MAX_BITS: u32 = 16;

/// A Huffman code: what to read, and how long each code is.
pub(super) struct HuffmanTable {
    /// Length and symbol by the next [`FAST_BITS`] bits; a length of 0 where the code is longer or none.
    fast: Box<[(u8, u8); 1 << FAST_BITS]>,
    /// For each length: the first code that is too long to have it, aligned to 16 bits.
    limit: [u32; MAX_BITS as usize + 1],
    /// For each length: place of a symbol less its code.
    offset: [i32; MAX_BITS as usize + 1],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Reads a table out of a DHT segment, and gives back what follows.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = bytes.split_at_checked(MAX_BITS as usize)?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let mut table = Self {
            fast: Box::new([(0, 0); 1 << FAST_BITS]),
            limit: [0; MAX_BITS as usize + 1],
            offset: [0; MAX_BITS as usize + 1],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1..).zip(counts) {
            table.offset[length as usize] = place as i32 - code as i32;
            for _ in 0..*count {
                if length <= FAST_BITS {
                    let first = (code << (FAST_BITS - length)) as usize;
                    let same = table.fast.get_mut(first..first + (1 << (FAST_BITS - length)))?;
                    same.fill((length as u8, symbols[place]));
                }
                code += 1;
                place += 1;
            }
            // More codes than there are of this length.
            if code > 1 << length {
                return None;
            }
            table.limit[length as usize] = code << (MAX_BITS - length);
            code <<= 1;
        }
        Some((table, rest))
    }
}

/// The bits of a scan. Past its end they are zero, and counted.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    start: usize,
    at: usize,
    /// The next bits, the first of them on top.
    buffer: u64,
    held: u32,
    /// Bits in `buffer` that the scan does not have.
    made_up: u32,
    /// Whether bits were taken that the scan does not have.
    is_short: bool,
    at_marker: bool,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, start: at, at, buffer: 0, held: 0, made_up: 0, is_short: false, at_marker: false }
    }

    /// Whether more was read than there is.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Where to look for the next marker.
    pub(super) fn position(&self) -> usize {
        // At most so much was read ahead, stuffing included. A marker in between would have ended the
        // reading.
        if self.at_marker { self.at } else { self.at.saturating_sub(2 * 8).max(self.start) }
    }

    /// Holds 32 bits at least.
    #[inline(always)]
    fn fill(&mut self) {
        if self.held >= 32 {
            return;
        }
        if let Some(next) = self.bytes.get(self.at..self.at + 4)
            && !next.contains(&0xff)
            && !self.at_marker
        {
            let next = next.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            self.buffer |= next << (32 - self.held);
            self.held += 32;
            self.at += 4;
            return;
        }
        self.fill_slowly();
    }

    #[inline(never)]
    fn fill_slowly(&mut self) {
        while self.held <= 56 {
            let byte = match self.bytes.get(self.at) {
                Some(0xff) if !self.at_marker => {
                    if self.bytes.get(self.at + 1) == Some(&0) {
                        self.at += 2;
                        0xff
                    } else {
                        self.at_marker = true;
                        self.made_up += 8;
                        0
                    }
                }
                Some(byte) if !self.at_marker => {
                    self.at += 1;
                    *byte
                }
                _ => {
                    self.made_up += 8;
                    0
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, mut bits: u32) {
        // A block may have 63 refinements.
        while bits > 32 {
            self.fill();
            self.drop_bits(32);
            bits -= 32;
        }
        self.fill();
        self.drop_bits(bits);
    }

    #[inline(always)]
    fn drop_bits(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.held -= bits;
        if self.held < self.made_up {
            self.made_up = self.held;
            self.is_short = true;
        }
    }

    /// The next bits as a number, 16 at most.
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        self.fill();
        let taken = if bits == 0 { 0 } else { (self.buffer >> (64 - bits)) as u32 };
        self.drop_bits(bits);
        taken
    }

    /// The next symbol; `None` where the bits are no code.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &HuffmanTable) -> Option<u8> {
        self.symbol_and(table, |_| 0)
    }

    /// The next symbol of a run and a size, and past as many bits as the size says.
    #[inline(always)]
    pub(super) fn coefficient(&mut self, table: &HuffmanTable) -> Option<u8> {
        self.symbol_and(table, |symbol| u32::from(symbol & 15))
    }

    #[inline(always)]
    fn symbol_and(&mut self, table: &HuffmanTable, behind: impl Fn(u8) -> u32) -> Option<u8> {
        self.fill();
        let (length, symbol) = table.fast[(self.buffer >> (64 - FAST_BITS)) as usize];
        if length > 0 {
            self.drop_bits(u32::from(length) + behind(symbol));
            return Some(symbol);
        }
        let next = (self.buffer >> (64 - MAX_BITS)) as u32;
        let length = (FAST_BITS + 1..=MAX_BITS).find(|length| next < table.limit[*length as usize])?;
        let code = (next >> (MAX_BITS - length)) as i32;
        let symbol = *table.symbols.get(usize::try_from(code + table.offset[length as usize]).ok()?)?;
        self.drop_bits(length + behind(symbol));
        Some(symbol)
    }

    /// Goes behind the restart marker that has to come next. `None` where another does, or none, or came too
    /// soon.
    pub(super) fn restart(&mut self) -> Option<()> {
        if self.is_short {
            return None;
        }
        let mut at = self.position();
        // Bytes in front of the marker are filling.
        loop {
            at += self.bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
            match self.bytes.get(at + 1)? {
                0xd0..=0xd7 => break,
                0xff => at += 1,
                0x00 => at += 2,
                _ => return None,
            }
        }
        *self = Self::new(self.bytes, at + 2);
        Some(())
    }
}
