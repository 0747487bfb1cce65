//! The order of pictures where times do not tell it: that in which the decoder gives them.

use super::{
    VideoError,
    carried::CarriedData,
    decode::{Decoder, Output, is_fatal},
    demux::{Demuxer, Read},
    doubtful::Doubtful,
};

/// Decodes the runs and writes down in which order their pictures come out. Leaves the demuxer somewhere in
/// the file and the decoder empty.
pub(super) fn learn(
    runs: &mut [Doubtful],
    carried: &CarriedData,
    demuxer: &mut Demuxer,
    decoder: &mut Decoder,
) -> Result<(), VideoError> {
    demuxer.reopen(false)?;
    let mut number = 0;
    for run in runs {
        while number < run.packets.end {
            let Ok(Read::Packet(mut packet)) = demuxer.read() else {
                // The scan has met the same end.
                return Ok(());
            };
            if number == run.from {
                settle(demuxer, carried.attach(&mut packet, number))?;
            }
            if number >= run.from {
                packet.set_pts(Some(i64::from(number)));
                packet.set_dts(None);
                settle(demuxer, decoder.send(&packet, true))?;
                take_pictures(demuxer, decoder, run)?;
            }
            number += 1;
        }
        settle(demuxer, decoder.drain())?;
        take_pictures(demuxer, decoder, run)?;
        decoder.start_over(demuxer)?;
    }
    Ok(())
}

fn take_pictures(demuxer: &Demuxer, decoder: &mut Decoder, run: &mut Doubtful) -> Result<(), VideoError> {
    loop {
        match decoder.receive() {
            Ok(Output::Picture(picture)) => {
                let number = picture.pts().and_then(|number| u32::try_from(number).ok());
                run.decoded.extend(number.filter(|number| run.packets.contains(number)));
            }
            Ok(Output::NeedsPacket | Output::End) => return Ok(()),
            Err(error) => settle(demuxer, Err(error))?,
        }
    }
}

/// Passes over damaged data, but not over a failing machine.
fn settle(demuxer: &Demuxer, outcome: Result<(), ffmpeg_next::Error>) -> Result<(), VideoError> {
    match outcome {
        Err(error) if is_fatal(error) => {
            Err(VideoError::Container { path: demuxer.path().into(), reason: error.to_string() })
        }
        _ => Ok(()),
    }
}
