//! What the headers of a picture and of its scans say.

/// Coefficients of a block.
pub(super) const BLOCK: usize = 64;

pub(super) struct Component {
    pub(super) id: u8,
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    /// Blocks in a row and in a column of the component, filled up to whole MCUs.
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) dc_table: usize,
    pub(super) ac_table: usize,
    /// The finest bit of each coefficient that has been sent; `None` before the first.
    pub(super) finest: [Option<u8>; BLOCK],
    /// Which coefficients of each block are not zero so far, for scans that refine them.
    pub(super) nonzero: Vec<u64>,
}

pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) max_horizontal: usize,
    pub(super) max_vertical: usize,
    pub(super) components: Vec<Component>,
}

/// The header of a scan.
pub(super) struct Scan {
    /// Places in [`Frame::components`].
    pub(super) components: Vec<usize>,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) refines: bool,
    pub(super) bit: u8,
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let pair = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes(pair.try_into().ok()?)))
}

pub(super) fn frame(segment: &[u8], progressive: bool) -> Option<Frame> {
    let (height, width) = (short(segment, 1)?, short(segment, 3)?);
    let (8, 1.., 1.., count @ 1..=4) = (segment[0], height, width, usize::from(*segment.get(5)?)) else {
        return None;
    };
    let described = segment.get(6..6 + 3 * count)?;
    let sampling = |component: &[u8]| (usize::from(component[1] >> 4), usize::from(component[1] & 15));
    let sides = described.chunks_exact(3).map(sampling);
    let (max_horizontal, max_vertical) = sides.clone().fold((0, 0), |m, s| (s.0.max(m.0), s.1.max(m.1)));
    if sides.clone().any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down)) {
        return None;
    }
    let (columns, rows) = (width.div_ceil(max_horizontal * 8), height.div_ceil(max_vertical * 8));
    let components = described
        .chunks_exact(3)
        .map(|component| {
            let (horizontal, vertical) = sampling(component);
            Component {
                id: component[0],
                horizontal,
                vertical,
                stride: columns * horizontal,
                rows: rows * vertical,
                dc_table: 0,
                ac_table: 0,
                finest: [None; BLOCK],
                nonzero: Vec::new(),
            }
        })
        .collect();
    Some(Frame { progressive, width, height, max_horizontal, max_vertical, components })
}

pub(super) fn scan_header(segment: &[u8], frame: &mut Frame) -> Option<Scan> {
    let count = usize::from(*segment.first()?);
    let mut components = Vec::with_capacity(count);
    for selector in segment.get(1..1 + 2 * count)?.chunks_exact(2) {
        let place = frame.components.iter().position(|component| component.id == selector[0])?;
        if components.contains(&place) {
            return None;
        }
        frame.components[place].dc_table = usize::from(selector[1] >> 4);
        frame.components[place].ac_table = usize::from(selector[1] & 15);
        components.push(place);
    }
    let [first, last, approximation] = *segment.get(1 + 2 * count..4 + 2 * count)? else { return None };
    if components.is_empty() {
        return None;
    }
    if !frame.progressive {
        return Some(Scan { components, first: 0, last: BLOCK - 1, refines: false, bit: 0 });
    }
    let (first, last) = (usize::from(first), usize::from(last));
    // Coefficients other than the first come a component at a time.
    let in_order = last < BLOCK && first <= last && (first > 0 || last == 0) && (first == 0 || count == 1);
    let refines = approximation >> 4 > 0;
    in_order.then_some(Scan { components, first, last, refines, bit: approximation & 15 })
}
