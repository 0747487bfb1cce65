//! One time line out of a clock that may start over.

use super::index::PacketEntry;

/// Brings the times of packets, in the order of the file, onto one line. Where the clock of the file steps
/// back, as at the joint of two recordings put one behind the other, time goes on after the packet before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What is added to the times of the file.
    offset: i64,
    /// The decode time before, as the file has it.
    last_dts: Option<i64>,
    /// The latest presentation time so far, on the line.
    latest: Option<i64>,
    /// How far apart packets are: the duration of the one before, else the smallest step so far.
    step: i64,
    smallest_step: Option<i64>,
    restarts: usize,
}

/// A packet's times on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Presentation time.
    pub pts: Option<i64>,
    /// Whether the clock stepped back here.
    pub restarted: bool,
    /// Whether a packet before is shown at the same time or later.
    pub overtaken: bool,
}

impl Clock {
    /// Places the next packet. Where pictures are shown in the order of the file (`in_order`), every step
    /// back of presentation times counts. Else they go to and fro, and steps back of decode times count.
    pub(super) fn place(&mut self, packet: &PacketEntry, in_order: bool) -> Placed {
        let pts = packet.pts;
        let dts = if in_order { pts } else { packet.dts };
        let step = dts.zip(self.last_dts).map(|(dts, last)| dts.saturating_sub(last));
        let mut restarted = false;
        match step {
            Some(step) if step < 0 && (pts.is_none() || self.is_overtaken(pts)) => {
                restarted = true;
                self.restarts += 1;
                let gap = step.saturating_neg().saturating_add(self.step.max(1));
                self.offset = self.offset.saturating_add(gap);
            }
            Some(step) if step > 0 => {
                self.smallest_step = Some(self.smallest_step.map_or(step, |smallest| smallest.min(step)));
            }
            _ => {}
        }
        let overtaken = self.is_overtaken(pts);
        self.last_dts = dts.or(self.last_dts);
        self.step = if packet.duration > 0 { packet.duration } else { self.smallest_step.unwrap_or(0) };
        let pts = pts.map(|pts| pts.saturating_add(self.offset));
        // One stray time ahead of all others must not cast doubt on every key frame behind it.
        self.latest = if packet.keyframe && pts.is_some() { pts } else { self.latest.max(pts) };
        Placed { pts, restarted, overtaken }
    }

    /// Whether a packet before is shown at this time or later.
    fn is_overtaken(&self, pts: Option<i64>) -> bool {
        pts.zip(self.latest).is_some_and(|(pts, latest)| pts.saturating_add(self.offset) <= latest)
    }

    /// How often the clock stepped back.
    pub(super) fn restarts(&self) -> usize {
        self.restarts
    }

    /// How far apart packets are, 0 where that is not known yet.
    pub(super) fn step(&self) -> i64 {
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(packets: &[(i64, i64)], in_order: bool) -> (Vec<i64>, usize) {
        let mut clock = Clock::default();
        let times = packets
            .iter()
            .map(|&(pts, dts)| {
                let (pts, dts) = (Some(pts), Some(dts));
                let packet = PacketEntry {
                    pts,
                    dts,
                    duration: 1,
                    position: 0,
                    coded: None,
                    keyframe: false,
                    displayed: true,
                };
                clock.place(&packet, in_order).pts.expect("a time")
            })
            .collect();
        (times, clock.restarts())
    }

    #[test]
    fn a_clock_that_starts_over_goes_on() {
        // I0 P3 B1 B2, twice.
        let part = [(1, 0), (4, 1), (2, 2), (3, 3)];
        let joined = [part, part].concat();
        assert_eq!(placed(&joined, false), (vec![1, 4, 2, 3, 5, 8, 6, 7], 1));
        let steps_back = [(0, 0), (1, 1), (2, 2), (1, 1), (2, 2), (9, 9)];
        for in_order in [false, true] {
            assert_eq!(placed(&steps_back, in_order), (vec![0, 1, 2, 3, 4, 11], 1));
        }
    }

    #[test]
    fn sound_clocks_stay_as_they_are() {
        let reordered = [(1, 0), (4, 1), (2, 2), (3, 3), (7, 4), (5, 5), (6, 6)];
        assert_eq!(placed(&reordered, false), (reordered.map(|(pts, _)| pts).to_vec(), 0));
        // Decode times that step back where presentation goes on are only made up badly.
        assert_eq!(placed(&[(0, 0), (1, 5), (2, 2)], false), (vec![0, 1, 2], 0));
    }

    #[test]
    fn the_ends_of_the_number_range_do_no_harm() {
        let times = placed(&[(i64::MAX, i64::MAX), (i64::MIN + 1, i64::MIN + 1), (0, 0)], true);
        assert_eq!(times.1, 1);
    }
}
