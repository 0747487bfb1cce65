//! What bytes that no demuxer could open look like.

/// What kind of list it is, if it looks like one that names media in other places.
pub(super) fn describe_playlist(head: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    let lists = [
        ("#EXTM3U", "an HLS or M3U playlist"),
        ("ffconcat version", "a list of files to join (ffconcat)"),
        ("v=0", "a session description (SDP)"),
        (";FFMETADATA", "metadata without media (FFMETADATA)"),
        ("# VobSub index file", "an index of subtitles (VobSub)"),
        ("[playlist]", "a PLS playlist"),
        ("[Reference]", "a reference to a stream (ASF)"),
        ("RTSPtext", "a reference to a stream (RTSP)"),
        ("SMILtext", "a presentation (SMIL)"),
    ];
    if let Some((_, found)) = lists.into_iter().find(|(start, _)| begins(start)) {
        return Some(found);
    }
    let elements = [
        ("<MPD", "a DASH manifest"),
        ("<SmoothStreamingMedia", "a Smooth Streaming manifest"),
        ("<CompositionPlaylist", "a composition playlist (IMF)"),
        ("<AssetMap", "an asset map (IMF)"),
        ("<asx", "an ASX playlist"),
        ("<smil", "a presentation (SMIL)"),
        ("<playlist", "an XSPF playlist"),
    ];
    let holds = |element: &str| text.to_ascii_lowercase().contains(&element.to_ascii_lowercase());
    if !begins("<") {
        return None;
    }
    elements.into_iter().find_map(|(element, found)| holds(element).then_some(found))
}

/// Says what a file with this beginning looks like.
pub(super) fn describe_unrecognised(head: &[u8]) -> &'static str {
    if let Some(b"ftyp" | b"mdat" | b"moov" | b"free" | b"wide" | b"skip") = head.get(4..8) {
        return "an MP4 file without a usable moov atom, so cut short or never finished";
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return "a WebP picture, which is read as an image and not as a video";
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // The head may end inside a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => "the file holds text",
        _ if head.iter().all(|byte| *byte == 0) => "the file holds zeros",
        _ => "the bytes match no known container",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        let table: [(&[u8], &str); 6] = [
            (b"\0\0\0\x20ftypisom\0\0\x02\0", "moov"),
            (b"RIFF\x1c\0\0\0WEBPVP8 ", "WebP"),
            (b"a plain text\nof two lines", "text"),
            ("na\u{ef}ve".as_bytes(), "text"),
            (&[0; 64], "zeros"),
            (&[0x93, 0x00, 0xfe, 0x12, 0x77], "no known container"),
        ];
        for (head, expected) in table {
            let described = describe_unrecognised(head);
            assert!(described.contains(expected), "{head:?}: {described}");
        }
        assert_eq!(describe_unrecognised(&"\u{e9}".as_bytes()[..1]), "the file holds text");
    }
}
