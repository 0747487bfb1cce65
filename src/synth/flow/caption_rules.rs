use std::collections::HashSet;

use super::report::Filter;
use crate::media::MediaKind;

/// Phrases that speak of a channel, a licence or the writer instead of the video.
const BOILERPLATE: [&str; 22] = [
    "subscribe",
    "like and share",
    "follow me",
    "follow us",
    "click the link",
    "link in bio",
    "link in the description",
    "all rights reserved",
    "copyright",
    "stock footage",
    "stock video",
    "royalty free",
    "royalty-free",
    "download now",
    "no description",
    "no caption",
    "untitled",
    "as an ai",
    "i'm sorry",
    "i am sorry",
    "i cannot",
    "i can't",
];
/// How cameras and phones name their files.
const CAMERA_NAMES: [&str; 11] =
    ["img", "dsc", "dscn", "dscf", "vid", "mov", "mvi", "pxl", "gopr", "dji", "video"];
/// Words that a text may repeat at most, of all its words.
const MAX_REPEATED: f64 = 0.6;
/// Texts with fewer words are too short to be judged by how often they repeat themselves.
const REPETITION_WORDS: usize = 6;

/// The rule that `text` breaks as a description of a video, and how; `None` for a text that may describe
/// something.
pub(super) fn broken_rule(text: &str, min_words: usize) -> Option<(Filter, String)> {
    let lower = text.to_lowercase();
    let words = words(&lower);
    if let Some(url) = lower.split_whitespace().find(|token| is_address(token)) {
        return Some((Filter::Address, format!("it holds the address {url}")));
    }
    if let Some(name) = lower.split_whitespace().find(|token| is_file_name(token)) {
        return Some((Filter::FileName, format!("it holds the file name {name}")));
    }
    if words.len() < min_words {
        let reason = format!("it has {} words, at least {min_words} are asked for", words.len());
        return Some((Filter::TooShort, reason));
    }
    let visible = lower.chars().filter(|c| !c.is_whitespace()).count();
    let letters = lower.chars().filter(|c| c.is_alphabetic()).count();
    if 2 * letters < visible {
        return Some((Filter::NotWords, format!("{letters} of its {visible} characters are letters")));
    }
    let spaced = format!(" {} ", words.join(" "));
    let phrase =
        BOILERPLATE.iter().find(|phrase| spaced.contains(&format!(" {} ", self::words(phrase).join(" "))));
    if let Some(phrase) = phrase {
        return Some((Filter::Boilerplate, format!("it says `{phrase}`")));
    }
    let distinct: HashSet<&String> = words.iter().collect();
    let repeated = 1.0 - distinct.len() as f64 / words.len().max(1) as f64;
    if words.len() >= REPETITION_WORDS && repeated > MAX_REPEATED {
        let reason = format!("{:.0} % of its words are repetitions", 100.0 * repeated);
        return Some((Filter::Repetitive, reason));
    }
    None
}

/// Texts that are the same but for case, spaces and punctuation have the same key.
pub(super) fn duplicate_key(text: &str) -> String {
    words(&text.to_lowercase()).join(" ")
}

/// Whether `query` names nearly all that `caption` does, so that it would find the video by itself. Short
/// words are left out: articles and prepositions say nothing.
pub(super) fn tells_all(query: &str, caption: &str) -> bool {
    let content = |text: &str| -> HashSet<String> {
        words(&text.to_lowercase()).into_iter().filter(|word| word.chars().count() > 3).collect()
    };
    let (query, caption) = (content(query), content(caption));
    let told = caption.iter().filter(|word| query.contains(*word)).count();
    caption.len() >= 4 && 10 * told >= 9 * caption.len()
}

/// Runs of letters and digits. Scripts that do not put spaces between words count by the character.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.chars() {
        if matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{0e00}'..='\u{0eff}') {
            words.extend([c.to_string(), String::new()]);
        } else if c.is_alphanumeric() {
            if let Some(word) = words.last_mut() {
                word.push(c);
            }
        } else if c != '\'' && c != '’' {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_address(token: &str) -> bool {
    token.contains("://") || token.starts_with("www.")
}

/// A name with the extension of a video or image, or a camera's prefix and a number.
fn is_file_name(token: &str) -> bool {
    let token = token.trim_matches(|c: char| !c.is_alphanumeric());
    let extension = token.rsplit_once('.').map_or("", |(_, extension)| extension);
    if MediaKind::of_extension(extension).is_some() {
        return true;
    }
    CAMERA_NAMES.iter().any(|prefix| {
        let number = token.strip_prefix(prefix).map(|rest| rest.trim_start_matches(['_', '-']));
        number.is_some_and(|number| {
            number.len() >= 3 && number.chars().all(|c| c.is_ascii_digit() || c == '_' || c == '-')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_describe_nothing_are_told_by_rule() {
        for (text, expected) in [
            ("a dog runs", None),
            ("Two men, one in red, carry a ladder.", None),
            ("dog, beach, frisbee", None),
            ("雪地里的红狐狸", None),
            ("He can't stop: the video camera fell at 3.15 p.m.", None),
            ("a very very big dog", None),
            ("round and round it goes, and round again", None),
            ("", Some(Filter::TooShort)),
            ("a dog", Some(Filter::TooShort)),
            ("狗", Some(Filter::TooShort)),
            ("holiday in rome.MP4", Some(Filter::FileName)),
            ("IMG_20210304_101112", Some(Filter::FileName)),
            ("the best of (DSC0042) and others", Some(Filter::FileName)),
            ("watch it on https://example.org now", Some(Filter::Address)),
            ("more at www.example.org every day", Some(Filter::Address)),
            ("12:30 - 14:45 #1 @22 km", Some(Filter::NotWords)),
            ("Please SUBSCRIBE to see more", Some(Filter::Boilerplate)),
            ("I'm sorry, but I cannot see the video", Some(Filter::Boilerplate)),
            ("round and round and round and round", Some(Filter::Repetitive)),
        ] {
            assert_eq!(broken_rule(text, 3).map(|(filter, _)| filter), expected, "{text}");
        }
    }

    #[test]
    fn the_same_words_are_the_same_text() {
        assert_eq!(duplicate_key("A dog, runs!"), duplicate_key("a  dog runs"));
        assert_ne!(duplicate_key("a dog runs"), duplicate_key("a dog ran"));
    }

    #[test]
    fn a_query_that_repeats_the_caption_tells_all() {
        let caption = "A brown rabbit looks at an apple under a tree.";
        for (query, expected) in [
            ("the same animal, but now it eats", false),
            ("a brown rabbit looks at an apple", false),
            ("find where the brown rabbit looks at the apple under that tree", true),
        ] {
            assert_eq!(tells_all(query, caption), expected, "{query}");
        }
        assert!(!tells_all("a dog runs", "a dog runs"), "too little to judge by");
    }
}
