use image::{Rgb, RgbImage, imageops};

use super::border::{Borders, Frame};
use super::fingerprint::{Look, fingerprint_image};
use super::picture::{GREY_SIDE, Grey};
use super::signature::{Basis, Window};
use super::{Fingerprint, FingerprintCache, Fingerprints, Group, Match, groups};
use crate::cancel::CancelToken;
use crate::media::{MediaKind, TimeRange};
use crate::random::Random;
use crate::retrieval::FileFingerprint;

const SIZE: u32 = 96;

/// A place with forms of its own, seen from a point in pixels.
fn scene(seed: u64, (left, top): (f64, f64)) -> RgbImage {
    let height = |x: f64, y: f64, octave: u64| {
        255.0 * Random::derived(seed, &[octave, x.floor() as i64 as u64, y.floor() as i64 as u64]).unit()
    };
    // Noise between the points of a lattice.
    let noise = |x: f64, y: f64, octave: u64| {
        let mix = |a: f64, b: f64, share: f64| a + (b - a) * share;
        let row = |y: f64| mix(height(x, y, octave), height(x + 1.0, y, octave), x - x.floor());
        mix(row(y), row(y + 1.0), y - y.floor())
    };
    RgbImage::from_fn(SIZE, SIZE, |x, y| {
        let (x, y) = (f64::from(x) + left, f64::from(y) + top);
        let grey = (0.7 * noise(x / 19.0, y / 19.0, 1) + 0.3 * noise(x / 7.0, y / 7.0, 2)) as u8;
        Rgb([grey, grey / 2 + 60, 255 - grey / 2])
    })
}

/// What a film of so many seconds looks like, whose picture at each time is known.
fn film(seconds: f64, picture: impl Fn(f64) -> RgbImage) -> Fingerprint {
    let mut look = Look::new(Fingerprint {
        kind: MediaKind::Video,
        duration_seconds: seconds,
        fps: 24.0,
        codec: "h264".to_owned(),
        ..fingerprint_image(&RgbImage::new(0, 0))
    });
    for step in 0..(seconds * 4.0) as u32 {
        let time = f64::from(step) / 4.0;
        let picture = imageops::resize(&picture(time), SIZE, SIZE, imageops::FilterType::Triangle);
        look.take(time, Grey::of(&picture));
    }
    look.finish()
}

/// A camera that moves, in another scene every 4 s.
fn travel(seed: u64, time: f64) -> RgbImage {
    let shot = (time / 4.0).floor();
    let direction = Random::derived(seed, &[shot as u64]).unit() * std::f64::consts::TAU;
    let way = 9.0 * (time - 4.0 * shot);
    scene(100 * seed + shot as u64, (way * direction.cos(), way * direction.sin()))
}

fn matches_of(films: impl IntoIterator<Item = Fingerprint>) -> (Fingerprints, Vec<Match>) {
    let mut fingerprints = Fingerprints::default();
    for film in films {
        fingerprints.push(film);
    }
    let matches = fingerprints.matches(&CancelToken::new(), |_| ()).unwrap();
    (fingerprints, matches)
}

fn grouped(films: impl IntoIterator<Item = Fingerprint>) -> Vec<Group> {
    let (fingerprints, matches) = matches_of(films);
    groups(&fingerprints, &matches)
}

fn places(groups: &[Group]) -> Vec<Vec<usize>> {
    groups.iter().map(|group| group.members.iter().map(|member| member.place).collect()).collect()
}

fn signature(image: &RgbImage, window: Window) -> super::signature::Signature {
    Basis::of(window).signature(&fingerprint_image(image).pictures[0]).unwrap()
}

#[test]
fn signatures_survive_what_is_done_to_pictures() {
    for seed in 0..8 {
        let picture = scene(seed, (0.0, 0.0));
        let own = signature(&picture, Window::WHOLE);
        let mut darker = picture.clone();
        darker.iter_mut().for_each(|value| *value = (f32::from(*value) * 0.6) as u8 + 20);
        let mut logo = picture.clone();
        imageops::replace(&mut logo, &RgbImage::from_pixel(16, 10, Rgb([250, 20, 20])), 76, 4);
        let small = imageops::resize(&picture, 40, 32, imageops::FilterType::Triangle);
        for (what, changed, least) in [
            ("darker", darker, 0.99),
            ("a logo", logo, 0.75),
            ("smaller", small, 0.95),
            ("grey", image::DynamicImage::from(imageops::grayscale(&picture)).to_rgb8(), 0.95),
        ] {
            let alike = own.dot(&signature(&changed, Window::WHOLE));
            assert!(alike >= least, "{what} {seed}: {alike}");
        }
        let mirrored =
            own.clone().mirrored().dot(&signature(&imageops::flip_horizontal(&picture), Window::WHOLE));
        assert!(mirrored > 0.99, "{mirrored}");
        let window = Window { left: 0.2, right: 1.0, top: 0.1, bottom: 0.9 };
        let cropped = imageops::crop_imm(&picture, 19, 10, 77, 76).to_image();
        let cropped = signature(&picture, window).dot(&signature(&cropped, Window::WHOLE));
        assert!(cropped > 0.9, "{cropped}");
        let other = own.dot(&signature(&scene(seed + 50, (0.0, 0.0)), Window::WHOLE));
        assert!(other.abs() < 0.5, "{other}");
    }
    let plain = fingerprint_image(&RgbImage::from_pixel(SIZE, SIZE, Rgb([90; 3])));
    assert!(Basis::of(Window::WHOLE).signature(&plain.pictures[0]).is_none(), "there is nothing to see");
}

#[test]
fn borders_stay_and_end_at_once() {
    let bordered = |tone: u8, time: f64| {
        let mut picture = RgbImage::from_pixel(SIZE, SIZE, Rgb([tone; 3]));
        let inner = imageops::resize(&travel(1, time), SIZE, 72, imageops::FilterType::Triangle);
        imageops::replace(&mut picture, &inner, 0, 12);
        Grey::of(&picture)
    };
    for (tone, expected) in [(0, (12, 84)), (250, (12, 84)), (40, (12, 84))] {
        let mut borders = Borders::new();
        (0..20).for_each(|step| borders.push(&bordered(tone, f64::from(step) / 4.0), 65));
        let (top, bottom) = expected;
        assert_eq!(borders.frame(), Frame { left: 0, right: GREY_SIDE, top, bottom }, "{tone}");
    }
    let mut borders = Borders::new();
    borders.push(&bordered(0, 0.0), 65);
    borders.push(&Grey::of(&travel(1, 0.0)), 65);
    assert_eq!(borders.frame().top, 0, "what is gone a moment later is none");
    let mut ground = RgbImage::from_pixel(SIZE, SIZE, Rgb([150; 3]));
    imageops::replace(&mut ground, &RgbImage::from_pixel(12, 12, Rgb([20; 3])), 40, 40);
    let mut borders = Borders::new();
    borders.push(&Grey::of(&ground), 65);
    assert_eq!(
        borders.frame(),
        Frame { left: 0, right: GREY_SIDE, top: 0, bottom: GREY_SIDE },
        "a thing on plain ground"
    );
    let mut borders = Borders::new();
    borders.push(&Grey::of(&RgbImage::new(SIZE, SIZE)), 65);
    assert_eq!(borders.frame().bottom, GREY_SIDE, "black is all picture");
}

#[test]
fn versions_match_with_times_and_speed() {
    let source = || film(20.0, |time| travel(1, time));
    let near = |range: TimeRange, start: f64, end: f64| {
        let (from, to) = range.bounds().unwrap();
        assert!((from - start).abs() < 0.5 && (to - end).abs() < 0.5, "{range:?}, expected {start} to {end}");
    };
    let only = |films: Vec<Fingerprint>| {
        let (_, mut matches) = matches_of(films);
        assert_eq!(matches.len(), 1, "{matches:?}");
        let found = matches.remove(0);
        if found.first == 0 { found } else { found.swapped() }
    };
    let same = only(vec![source(), source()]);
    assert!(same.score > 0.99 && !same.mirrored && same.speed == 1.0, "{same:?}");
    near(same.ranges[0].first, 0.0, 20.0);

    let cut = only(vec![source(), film(6.0, |time| travel(1, time + 7.1))]);
    near(cut.ranges[0].first, 7.1, 13.1);
    near(cut.ranges[0].second, 0.0, 6.0);
    assert!(cut.second_share > 0.95 && cut.first_share < 0.4, "{cut:?}");

    let fast = only(vec![source(), film(16.0, |time| travel(1, time * 1.25))]);
    assert!((fast.speed - 1.25).abs() < 0.02, "{fast:?}");
    near(fast.ranges[0].second, 0.0, 16.0);

    let mirrored = only(vec![source(), film(20.0, |time| imageops::flip_horizontal(&travel(1, time)))]);
    assert!(mirrored.mirrored && mirrored.score > 0.95, "{mirrored:?}");

    // Something else in the middle.
    let parted = only(vec![
        source(),
        film(28.0, |time| match time {
            _ if time < 10.0 => travel(1, time),
            _ if time < 18.0 => travel(2, time),
            _ => travel(1, time - 8.0),
        }),
    ]);
    assert_eq!(parted.ranges.len(), 2, "{parted:?}");
    near(parted.ranges[1].first, 10.0, 20.0);
    near(parted.ranges[1].second, 18.0, 28.0);
}

/// One camera, and something that passes before it, which is elsewhere at every time.
fn passing(seed: u64, time: u64) -> RgbImage {
    let mut picture = scene(7, (0.0, 0.0));
    let place = |way: u64| (80.0 * Random::derived(seed, &[way, time]).unit()) as i64;
    let passes = RgbImage::from_pixel(14, 20, Rgb([240, 240, 90]));
    imageops::replace(&mut picture, &passes, place(0), place(1));
    picture
}

#[test]
fn slates_and_walls_tie_nothing_together() {
    let card = |seed: u64| {
        film(12.0, move |time| if time < 4.0 { scene(999, (0.0, 0.0)) } else { travel(seed, time) })
    };
    let black = |seed: u64| {
        film(9.0, move |time| if time < 6.0 { RgbImage::new(SIZE, SIZE) } else { travel(seed, time) })
    };
    assert_eq!(places(&grouped((1..9).map(card))), [[0; 0]; 0], "a title card");
    assert_eq!(places(&grouped((1..9).map(black))), [[0; 0]; 0], "black");
    // One camera, and what passes before it at different times.
    let wall = |seed: u64| film(20.0, move |time| passing(seed, time as u64));
    assert_eq!(places(&grouped([1, 2, 3].map(wall))), [[0; 0]; 0], "a wall");
    assert_eq!(places(&grouped([1, 2, 1].map(wall))), [[0, 2]], "but a copy of it is one");
    // Titles that are still as long as they last are the same if that is as long.
    let still = |seconds: f64| film(seconds, |_| scene(3, (0.0, 0.0)));
    assert_eq!(places(&grouped([still(60.2), still(75.0), still(60.0)])), [[0, 2]]);
}

#[test]
fn what_fifty_share_ties_none_of_them_together() {
    let opening = |seed: u64, shown: fn(f64) -> RgbImage| {
        film(9.0, move |time| if time < 3.0 { shown(time) } else { travel(seed, time) })
    };
    let card: fn(f64) -> RgbImage = |_| scene(999, (0.0, 0.0));
    // One in which something moves, too.
    let moving: fn(f64) -> RgbImage = |time| travel(998, time);
    let mut films: Vec<Fingerprint> = (1..26).map(|seed| opening(seed, card)).collect();
    films.extend((26..51).map(|seed| opening(seed, moving)));
    assert_eq!(places(&grouped(films.clone())), [[0; 0]; 0]);
    // Copies among them are found all the same.
    films.extend([films[7].clone(), films[40].clone()]);
    assert_eq!(places(&grouped(films)), [[7, 50], [40, 51]]);
}

#[test]
fn what_passes_before_a_fixed_camera_is_found_in_a_long_recording() {
    // Twelve minutes before a fixed camera, and a part of them.
    let camera = |start: f64| move |time: f64| passing(5, ((time + start) / 2.0) as u64);
    let (_, matches) = matches_of([film(720.0, camera(0.0)), film(60.0, camera(400.0))]);
    assert_eq!(matches.len(), 1, "{matches:?}");
    let (start, end) = matches[0].ranges[0].first.bounds().unwrap();
    assert!((start - 400.0).abs() < 1.0 && (end - 460.0).abs() < 1.0, "{matches:?}");
}

#[test]
fn what_two_share_with_a_third_keeps_them_apart() {
    let joined = film(20.0, |time| if time < 10.0 { travel(1, time) } else { travel(2, time - 10.0) });
    let parts = [1, 2].map(|seed| film(10.0, move |time| travel(seed, time)));
    let [one, two] = parts.clone();
    assert_eq!(
        places(&grouped([one.clone(), joined, two.clone()])),
        [[1, 0, 2]],
        "each is a part of the second"
    );
    // A trailer that is in two films does not make these one.
    let with_trailer =
        |seed: u64| film(24.0, move |time| if time < 6.0 { travel(1, time) } else { travel(seed, time) });
    let trailer = film(6.0, |time| travel(1, time));
    let groups = grouped([trailer, with_trailer(5), with_trailer(6)]);
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0].members.len(), 2);
    assert!(groups[0].members[1].found.is_some());
}

#[test]
fn the_best_copy_comes_first() {
    let copy = |width: u32, size_bytes: u64| Fingerprint {
        width,
        height: width,
        size_bytes,
        ..film(12.0, |time| travel(4, time))
    };
    let excerpt = Fingerprint { width: 4000, height: 4000, ..film(5.0, |time| travel(4, time + 3.0)) };
    // Larger, but for its borders smaller.
    let bordered = film(12.0, |time| {
        let mut picture = RgbImage::new(SIZE, SIZE);
        let inner = imageops::resize(&travel(4, time), SIZE, 48, imageops::FilterType::Triangle);
        imageops::replace(&mut picture, &inner, 0, 24);
        picture
    });
    assert!((bordered.picture_share - 0.5).abs() < 0.05, "{}", bordered.picture_share);
    let bordered = Fingerprint { width: 400, height: 400, size_bytes: 99, ..bordered };
    let groups = grouped([copy(100, 9), copy(300, 5), copy(300, 7), excerpt, bordered]);
    assert_eq!(places(&groups), [[2, 3, 1, 4, 0]], "an excerpt is no copy, whatever its size");
}

#[test]
fn short_and_empty_ones_are_no_trouble() {
    let one_frame = || film(0.25, |_| scene(1, (0.0, 0.0)));
    let nothing = || fingerprint_image(&RgbImage::new(0, 0));
    let second = || film(1.0, |time| travel(1, time));
    let image = || fingerprint_image(&scene(1, (0.0, 0.0)));
    let found =
        grouped([one_frame(), nothing(), second(), image(), nothing(), second(), image(), one_frame()]);
    // An image is like a video of one frame, and larger here.
    assert_eq!(places(&found), [vec![3, 6, 0, 7], vec![2, 5]]);
}

#[test]
fn ranges_end_with_their_videos() {
    let brief =
        |seconds: f64| Fingerprint { duration_seconds: seconds, ..film(0.25, |_| scene(1, (0.0, 0.0))) };
    let (_, matches) = matches_of([brief(0.04), brief(0.1)]);
    assert_eq!(matches.len(), 1, "{matches:?}");
    let found = if matches[0].first == 0 { matches[0].clone() } else { matches[0].clone().swapped() };
    assert_eq!(found.ranges.len(), 1, "{found:?}");
    let ends = [found.ranges[0].first, found.ranges[0].second];
    assert_eq!(ends, [TimeRange::between(0.0, 0.04), TimeRange::between(0.0, 0.1)]);
    assert!(found.first_share > 0.99 && found.second_share > 0.99, "all of both: {found:?}");
}

#[test]
fn clips_are_located() {
    let mut fingerprints = Fingerprints::default();
    for seed in 1..6 {
        fingerprints.push(film(40.0, move |time| travel(seed, time)));
    }
    let cancel = CancelToken::new();
    let clip = film(6.0, |time| {
        let picture = travel(3, time + 21.3);
        imageops::crop_imm(&picture, 12, 8, 77, 77).to_image()
    });
    let locate = |clip: &Fingerprint| fingerprints.locate(std::slice::from_ref(clip), &cancel);
    let found = locate(&clip).unwrap();
    assert_eq!(found.iter().map(|found| found.second).collect::<Vec<_>>(), [2]);
    let (start, end) = found[0].ranges[0].second.bounds().unwrap();
    assert!((start - 21.3).abs() < 0.5 && (end - 27.3).abs() < 0.5, "{found:?}");
    let other = film(6.0, |time| travel(9, time));
    assert_eq!(locate(&other).unwrap(), []);
    cancel.cancel();
    assert!(locate(&clip).is_err());
}

#[test]
fn the_cache_gives_back_what_it_got_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FingerprintCache::new(folder.path().join("made/when/needed"));
    let state = FileFingerprint { size_bytes: 5, modified_nanoseconds: -7 };
    let made = Fingerprint { size_bytes: 5, ..film(3.0, |time| travel(1, time)) };
    let path = std::path::Path::new("/videos/a.mp4");
    assert_eq!(cache.get(path, state), None);
    cache.put(path, state, &made).unwrap();
    assert_eq!(cache.get(path, state), Some(made.clone()));
    assert_eq!(cache.get(path, FileFingerprint { size_bytes: 6, ..state }), None, "the file has changed");
    assert_eq!(cache.get("/videos/b.mp4".as_ref(), state), None);

    let file =
        std::fs::read_dir(folder.path().join("made/when/needed")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    for place in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(cache.get(path, state), None, "byte {place}");
        std::fs::write(&file, &whole[..place]).unwrap();
        assert_eq!(cache.get(path, state), None, "{place} bytes");
    }
    cache.put(path, state, &made).unwrap();
    assert_eq!(cache.get(path, state), Some(made));
}

/// What is another picture every eighth of a second is looked at in every second eighth, of a clip maybe in
/// the others.
#[cfg(feature = "video")]
#[test]
fn what_changes_faster_than_pictures_are_taken_is_located() {
    use super::{fingerprint, fingerprint_clip};
    use crate::video::{VideoEncoding, VideoOptions, VideoWriter};

    let folder = tempfile::tempdir().unwrap();
    let cancel = CancelToken::new();
    let write = |name: &str, frames: std::ops::Range<u64>| {
        let path = folder.path().join(name);
        let mut writer = VideoWriter::create(&path, VideoEncoding::Ffv1, (SIZE, SIZE), 24).unwrap();
        frames.for_each(|frame| writer.write(&scene(frame / 3, (0.0, 0.0))).unwrap());
        writer.finish().unwrap();
        path
    };
    let mut fingerprints = Fingerprints::default();
    for first in [0, 1000, 2000] {
        let path = write(&format!("{first}.mkv"), first..first + 24 * 16);
        fingerprints.push(fingerprint(path, VideoOptions::default(), &cancel).unwrap());
    }
    // From 4.125 s of the second on.
    let clip =
        fingerprint_clip(write("clip.mkv", 1099..1099 + 24 * 5), VideoOptions::default(), &cancel).unwrap();
    assert_eq!(fingerprints.locate(&clip[..1], &cancel).unwrap(), [], "seen in other moments alone");
    let found = fingerprints.locate(&clip, &cancel).unwrap();
    assert_eq!(found.iter().map(|found| found.second).collect::<Vec<_>>(), [1]);
    let (start, end) = found[0].ranges[0].second.bounds().unwrap();
    assert!((start - 4.125).abs() < 0.5 && (end - 9.125).abs() < 0.5, "{found:?}");
    let alone = fingerprint(folder.path().join("clip.mkv"), VideoOptions::default(), &cancel).unwrap();
    assert!(clip.len() == 4 && clip[0] == alone);
}
