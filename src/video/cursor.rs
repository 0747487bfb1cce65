//! Getting at one frame after another with as little decoding as possible.

use super::{
    VideoError,
    carried::CarriedData,
    decode::{Decoder, Output, is_damaged, is_fatal},
    demux::{Demuxer, Read},
    index::Keyframe,
    plan::{Plan, Start},
};
use ffmpeg_next::{Error as FfmpegError, Packet, frame};

/// Up to this many packets are read over rather than sought past.
const PACKETS_READ_OVER: usize = 64;

/// A demuxer and a decoder at some place of the stream.
///
/// Every frame has a *label* that grows in presentation order; [`Plan`] says which label a frame number has.
/// The cursor decodes from a key frame until the label asked for comes out. What it has decoded last stays at
/// hand, as the answer to the same question and as a stand-in for frames that do not come out.
pub(super) struct Cursor {
    demuxer: Demuxer,
    decoder: Decoder,
    plan: Plan,
    /// What packets before the start have told the decoder.
    carried: CarriedData,
    /// Whether the decoder has been fed nothing since the start.
    fresh: bool,
    state: State,
    /// Number, in decode order, of the packet that comes next.
    next_packet: usize,
    /// A packet read ahead of its turn: the next one.
    lookahead: Option<Packet>,
    /// Whether seeking has always led where it should.
    seekable: bool,
    /// Frames with smaller labels are leading pictures without their references.
    floor: i64,
    /// Whether the packet before was a leading picture.
    leading: bool,
    /// Whether every picture is decoded and none but the end of the file drains the decoder.
    thorough: bool,
    /// Whether pictures of no use to others were left out since the start.
    skipped: bool,
    decoded: usize,
    /// The latest picture at or before the label asked for.
    held: Option<Picture>,
    /// A picture that came out too early to be of use yet.
    pending: Option<Picture>,
}

/// A decoded picture and its label.
struct Picture {
    label: i64,
    picture: frame::Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing fed.
    Idle,
    /// Taking packets.
    Feeding,
    /// Told to give up what it holds, with packets left to read.
    Drained,
    /// The same, at the end of the file.
    Ended,
}

/// The answer to a frame number.
pub(super) struct Located<'a> {
    pub picture: &'a frame::Video,
    /// The frame this is, where it is not the one asked for.
    pub stand_in: Option<usize>,
    /// Whether the decoder filled in missing parts.
    pub damaged: bool,
}

impl Cursor {
    /// A cursor over a demuxer of which the first packet has been read (`lookahead`), or that is anywhere.
    pub(super) fn new(
        demuxer: Demuxer,
        decoder: Decoder,
        plan: Plan,
        carried: CarriedData,
        lookahead: Option<Packet>,
    ) -> Self {
        Self {
            demuxer,
            decoder,
            plan,
            carried,
            fresh: true,
            state: State::Idle,
            next_packet: if lookahead.is_some() { 0 } else { usize::MAX },
            lookahead,
            seekable: true,
            floor: i64::MIN,
            leading: false,
            thorough: false,
            skipped: false,
            decoded: 0,
            held: None,
            pending: None,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn demuxer(&self) -> &Demuxer {
        &self.demuxer
    }

    /// The picture of frame `target`. `next` is the frame that will be asked for after it.
    pub(super) fn locate(&mut self, target: usize, next: Option<usize>) -> Result<Located<'_>, VideoError> {
        let mut exact = self.holds(target);
        if !exact {
            let mut start = self.plan.start_before(target);
            if !self.reaches(target, start) {
                self.thorough = false;
                self.start(start, target)?;
            }
            let mut steps_back = 1;
            let mut first_try = matches!(start, Start::Keyframe(_));
            loop {
                exact = self.advance(target, next)?;
                if exact {
                    break;
                }
                if !self.thorough && (self.skipped || self.state == State::Drained) {
                    // A picture left out may be the best stand-in there is, and decoders may end draining at
                    // a picture they cannot give.
                    self.thorough = true;
                } else if (self.held.is_none() || first_try || self.plan.is_close(start, target))
                    && let Some(earlier) = self.plan.earlier(start, steps_back)
                {
                    // The key frame was not one: nothing up to the target came out of it. Or it opens the
                    // last group of pictures and that is open: FFmpeg 5.1 ends draining at the first picture
                    // behind it, unless an earlier key frame came out before the drain. Or pictures refer to
                    // what lies before the key frame, which is tried once.
                    start = earlier;
                    first_try = false;
                    steps_back *= 2;
                } else {
                    break;
                }
                self.start(start, target)?;
            }
        }
        self.answer(target, exact)
    }

    fn answer(&self, target: usize, exact: bool) -> Result<Located<'_>, VideoError> {
        let Some(found) = self.held.as_ref().or(self.pending.as_ref()) else {
            return Err(VideoError::NothingDecodable {
                path: self.demuxer.path().into(),
                stream: self.demuxer.stream(),
                packets: self.plan.packets(),
            });
        };
        Ok(Located {
            picture: &found.picture,
            stand_in: (!exact).then(|| self.plan.frame_of(found.label)).filter(|frame| *frame != target),
            damaged: is_damaged(&found.picture),
        })
    }

    /// Whether the picture at hand is the one asked for.
    fn holds(&self, target: usize) -> bool {
        self.held.as_ref().is_some_and(|held| self.plan.is_frame(held.label, target))
    }

    /// Whether decoding on from here is the way to the target, given where else decoding could start.
    fn reaches(&mut self, target: usize, start: Start) -> bool {
        let wanted = self.plan.label(target);
        let ahead = self.held.as_ref().is_none_or(|held| held.label < wanted);
        let open = match self.state {
            State::Idle => false,
            State::Feeding | State::Ended => true,
            State::Drained => self.pending.as_ref().is_some_and(|pending| pending.label >= wanted),
        };
        let position = self.held.as_ref().map(|held| held.label);
        ahead
            && open
            && wanted >= self.floor
            && self.plan.is_past(start, self.next_packet, position, &mut self.demuxer)
    }

    /// Puts decoder and demuxer to a place where decoding can start.
    fn start(&mut self, start: Start, target: usize) -> Result<(), VideoError> {
        self.decoder.start_over(&self.demuxer)?;
        self.held = None;
        self.pending = None;
        self.state = State::Feeding;
        self.fresh = true;
        self.skipped = false;
        self.leading = false;
        self.decoded = 0;
        self.floor = self.plan.floor(start);
        let moved = match start {
            Start::Keyframe(key) => match self.plan.keyframe(key) {
                Some(key) => self.go_to_packet(key),
                None => self.rewind(),
            },
            Start::Beginning => self.rewind(),
            Start::Time(ticks) => {
                self.lookahead = None;
                self.next_packet = usize::MAX;
                self.demuxer.seek(ticks).or_else(|_| self.rewind())
            }
        };
        moved.map_err(|error| self.failure(target, error))
    }

    /// Opens the file anew where its first packet is not next anyway.
    fn rewind(&mut self) -> Result<(), FfmpegError> {
        if self.next_packet != 0 {
            self.lookahead = None;
            self.demuxer.reopen(false).map_err(|_| FfmpegError::InvalidData)?;
        }
        self.next_packet = 0;
        Ok(())
    }

    /// Makes a key frame the next packet to be read.
    fn go_to_packet(&mut self, key: Keyframe) -> Result<(), FfmpegError> {
        let number = key.packet as usize;
        let near = self.next_packet <= number && number - self.next_packet <= PACKETS_READ_OVER;
        if !near && self.seekable {
            if self.seek_to(key)? {
                return Ok(());
            }
            // This container's seeking misses: from now on packets are counted from the start, which costs
            // reading but no decoding.
            self.seekable = false;
        }
        if !near && self.next_packet > number {
            self.next_packet = usize::MAX;
            self.rewind()?;
        }
        while self.next_packet < number {
            if self.read()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Seeks to a key frame and recognises it. False where it did not turn up.
    fn seek_to(&mut self, key: Keyframe) -> Result<bool, FfmpegError> {
        self.lookahead = None;
        self.next_packet = usize::MAX;
        let by_time = self.plan.times_are_unique();
        let sought = if by_time { self.demuxer.seek(key.dts) } else { self.demuxer.seek_byte(key.position) };
        if sought.is_err() {
            return Ok(false);
        }
        let pts = self.plan.pts_of_packet(key.packet as usize);
        while let Ok(Read::Packet(packet)) = self.demuxer.read() {
            let dts = packet.dts().or(packet.pts());
            let position = i64::try_from(packet.position()).unwrap_or(-1);
            let found = packet.is_key()
                && if by_time {
                    dts == Some(key.dts) && (pts.is_none() || packet.pts() == pts)
                } else {
                    position == key.position
                };
            if found {
                self.lookahead = Some(packet);
                self.next_packet = key.packet as usize;
                return Ok(true);
            }
            if if by_time { dts.is_some_and(|dts| dts > key.dts) } else { position > key.position } {
                break;
            }
        }
        Ok(false)
    }

    fn read(&mut self) -> Result<Option<Packet>, FfmpegError> {
        let packet = match self.lookahead.take() {
            Some(packet) => packet,
            // The scan has met what lies behind, be it the end or an error.
            None if self.next_packet >= self.plan.packets_to_read() => return Ok(None),
            None => match self.demuxer.read() {
                Ok(Read::Packet(packet)) => packet,
                Err(error) if is_fatal(error) => return Err(error),
                // Unreadable data is as good as none: frames that then miss are reported one by one.
                Ok(Read::End) | Err(_) => return Ok(None),
            },
        };
        self.next_packet = self.next_packet.saturating_add(1);
        Ok(Some(packet))
    }

    /// Decodes until the target is held (true) or has been passed or the file ends (false).
    fn advance(&mut self, target: usize, next: Option<usize>) -> Result<bool, VideoError> {
        let wanted = self.plan.label(target);
        loop {
            if let Some(pending) = self.pending.take_if(|pending| pending.label <= wanted) {
                self.held = Some(pending);
            }
            if self.holds(target) {
                return Ok(true);
            }
            if self.pending.is_some() {
                return Ok(false);
            }
            match self.decoder.receive() {
                Ok(Output::Picture(picture)) => {
                    let label = self.plan.label_of(&picture, self.decoded);
                    self.decoded += 1;
                    if label >= self.floor {
                        self.keep(Picture { label, picture }, target);
                    }
                }
                Ok(Output::NeedsPacket) => self.feed(target, next)?,
                Ok(Output::End) => return Ok(false),
                Err(error) if is_fatal(error) => return Err(self.failure(target, error)),
                // Damaged data gives no picture; others may come.
                Err(_) => {}
            }
        }
    }

    fn keep(&mut self, found: Picture, target: usize) {
        if found.label <= self.plan.label(target) || self.plan.is_frame(found.label, target) {
            self.held = Some(found);
        } else {
            self.pending = Some(found);
        }
    }

    /// Gives the decoder its next packet, or tells it that no more will come.
    fn feed(&mut self, target: usize, next: Option<usize>) -> Result<(), VideoError> {
        if !self.thorough
            && self.plan.is_complete(target, self.next_packet)
            && !self.continues_to(target, next)
        {
            self.state = State::Drained;
            return self.drain(target);
        }
        let number = self.next_packet;
        let Some(mut packet) = self.read().map_err(|error| self.failure(target, error))? else {
            self.state = State::Ended;
            return self.drain(target);
        };
        self.leading = self.plan.is_leading(number, self.floor).unwrap_or(self.leading);
        if self.leading {
            // It refers to pictures before the start. Fed all the same, it would stop some decoders from
            // draining.
            return Ok(());
        }
        let useful = self.plan.stamp(&mut packet, number, target, next);
        let wanted = useful || self.thorough;
        self.skipped |= !wanted;
        if std::mem::take(&mut self.fresh) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.carried.attach(&mut packet, number).map_err(|error| self.failure(target, error))?;
        }
        match self.decoder.send(&packet, wanted) {
            Err(error) if is_fatal(error) => Err(self.failure(target, error)),
            // Damaged data: what cannot be decoded will not come out.
            _ => Ok(()),
        }
    }

    fn drain(&mut self, target: usize) -> Result<(), VideoError> {
        match self.decoder.drain() {
            Err(error) if is_fatal(error) => Err(self.failure(target, error)),
            _ => Ok(()),
        }
    }

    /// Whether the frame asked for after `target` will be decoded from here on, without a new start, or may
    /// be where none is known and a new start would cost much.
    fn continues_to(&mut self, target: usize, next: Option<usize>) -> bool {
        let Some(next) = next else { return self.plan.is_far(target) };
        let start = self.plan.start_before(next);
        next > target && self.plan.is_past(start, self.next_packet, None, &mut self.demuxer)
    }

    fn failure(&self, target: usize, error: FfmpegError) -> VideoError {
        VideoError::Decode {
            path: self.demuxer.path().into(),
            stream: self.demuxer.stream(),
            seconds: self.demuxer.seconds(self.plan.ticks(target)),
            reason: error.to_string(),
        }
    }
}
