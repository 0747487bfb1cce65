//! The looks at each pair.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::content::{Contents, combined};
use super::decoded::{Damage, Media, parts};
use super::held_out::HeldOut;
use super::{Count, Example, Finding, Kind, Review, ReviewError, ReviewEvent, ReviewSettings};
use crate::embedder::CancelToken;
use crate::pairs::{Pair, Task};
use crate::random::Random;
use crate::store::{IoError, open_regular_file};
use crate::text::{LineError, Lines};

/// Looks through `files` of pairs and tells `on` what is wrong, in their order; of decoding before that.
///
/// # Errors
/// [`ReviewError`]: a file cannot be read at all, or `cancel` was asked for.
pub fn review(
    files: &[PathBuf],
    settings: &ReviewSettings,
    cancel: &CancelToken,
    on: &mut dyn FnMut(ReviewEvent<'_>),
) -> Result<Review, ReviewError> {
    let mut media = BTreeSet::new();
    let mut rows: BTreeMap<Task, usize> = BTreeMap::new();
    each_pair(files, cancel, &mut |_, read| {
        if let Ok(pair) = read {
            media.extend(pair.files().map(Path::to_owned));
            *rows.entry(pair.task).or_default() += 1;
        }
    })?;
    let held_out = HeldOut::read(&settings.held_out, cancel)?;
    let contents = Contents::of(&media, held_out.media(), cancel)?;
    let mut decoded = Media::default();
    if settings.decode {
        each_pair(files, cancel, &mut |_, read| {
            if let Ok(pair) = read {
                decoded.add(&pair, &contents);
            }
        })?;
    }
    let damaged = decoded.damaged(cancel, on)?;
    let chosen = (0..).zip(&rows).map(|(number, (task, count))| {
        let chosen = Random::derived(settings.seed, &[number]).sample(*count, settings.examples);
        (*task, chosen.into_iter().collect())
    });
    let mut look = Look {
        files,
        chosen: chosen.collect(),
        leaking: held_out.media().filter_map(|path| Some((contents.id(path)?, path))).collect(),
        contents: &contents,
        held_out: &held_out,
        damaged,
        positives: HashMap::new(),
        negatives: HashMap::new(),
        review: Review {
            media: media.iter().filter_map(|path| contents.id(path)).collect::<HashSet<_>>().len(),
            held_out: (held_out.media().count(), held_out.num_texts()),
            ..Review::default()
        },
        on,
    };
    each_pair(files, cancel, &mut |place, read| look.at(place, read))?;
    let mut review = look.review;
    review.examples.sort_by_key(|example| example.pair.task);
    Ok(review)
}

/// A line of one of the files.
#[derive(Clone, Copy)]
struct Place {
    file: u32,
    line: u32,
}

/// Calls `on` with every pair, or with why a line is none.
fn each_pair(
    files: &[PathBuf],
    cancel: &CancelToken,
    on: &mut dyn FnMut(Place, Result<Pair, String>),
) -> Result<(), ReviewError> {
    for (file, path) in (0..).zip(files) {
        let base = path.parent().unwrap_or(Path::new(""));
        for line in Lines::new(open_regular_file(path).map_err(IoError::of("open", path))?) {
            if cancel.is_cancelled() {
                return Err(ReviewError::Cancelled);
            }
            let (line, read) = match line {
                Ok(line) => (line.number, Pair::from_json(&line.text, base)),
                Err(LineError::Text { number, reason }) => (number, Err(reason)),
                Err(LineError::Io(error)) => return Err(IoError::of("read", path)(error).into()),
            };
            on(Place { file, line: line as u32 }, read);
        }
    }
    Ok(())
}

/// The second look, with what was seen so far.
struct Look<'a> {
    files: &'a [PathBuf],
    /// The pairs of each task to keep, by their numbers.
    chosen: BTreeMap<Task, HashSet<usize>>,
    contents: &'a Contents,
    held_out: &'a HeldOut,
    /// Media that cannot be decoded, by what they hold.
    damaged: BTreeMap<u64, Damage>,
    /// Held-out media by what they hold.
    leaking: HashMap<u64, &'a Path>,
    /// Where a query was first seen with a positive, by a number that both make.
    positives: HashMap<u64, Place>,
    /// The same of a query and a negative.
    negatives: HashMap<u64, Place>,
    review: Review,
    on: &'a mut dyn FnMut(ReviewEvent<'_>),
}

impl Look<'_> {
    fn named(&self, place: Place) -> String {
        format!("{}:{}", self.files[place.file as usize].display(), place.line)
    }

    fn at(&mut self, place: Place, read: Result<Pair, String>) {
        let name = self.named(place);
        let (found, pair) = match read {
            Ok(pair) => (self.wrong(place, &pair), Some(pair)),
            Err(reason) => (vec![(Kind::Unreadable, reason)], None),
        };
        let kinds: BTreeSet<Kind> = found.iter().map(|(kind, _)| *kind).collect();
        for kind in kinds {
            *self.review.findings.entry(kind).or_default() += 1;
        }
        if let Some(pair) = pair {
            self.count(&pair, &name, &found);
        }
        for (kind, reason) in found {
            (self.on)(ReviewEvent::Finding(&Finding { kind, place: name.clone(), reason }));
        }
    }

    fn count(&mut self, pair: &Pair, name: &str, found: &[(Kind, String)]) {
        let of_task = self.review.tasks.entry(pair.task).or_default();
        let is_chosen = self.chosen.get(&pair.task).is_some_and(|chosen| chosen.contains(&of_task.pairs));
        let of_source = self.review.sources.entry(pair.source.clone().unwrap_or_default()).or_default();
        for Count { pairs, negatives } in [of_task, of_source] {
            *pairs += 1;
            *negatives += pair.negatives.len();
        }
        if is_chosen {
            let findings = found.iter().map(|(_, reason)| reason.clone()).collect();
            self.review.examples.push(Example { place: name.to_owned(), pair: pair.clone(), findings });
        }
    }

    /// What is wrong with a pair.
    fn wrong(&mut self, place: Place, pair: &Pair) -> Vec<(Kind, String)> {
        let mut found = Vec::new();
        for path in pair.files().filter(|path| self.contents.id(path).is_none()) {
            found.push((Kind::Missing, format!("{} is not there", path.display())));
        }
        let damaged =
            parts(pair).filter_map(|part| self.damaged.get(&self.contents.part_key(part))?.of(part));
        let damaged: BTreeSet<String> = damaged.collect();
        found.extend(damaged.into_iter().map(|reason| (Kind::Damaged, reason)));
        found.extend(self.leaks(pair).map(|reason| (Kind::Leak, reason)));

        let [query, positive] = [&pair.query, &pair.positive].map(|input| self.contents.key(input));
        let both = combined(query, positive);
        match self.positives.get(&both) {
            Some(first) => {
                found.push((
                    Kind::Duplicate,
                    format!("the same query and positive as {}", self.named(*first)),
                ));
            }
            None => drop(self.positives.insert(both, place)),
        }
        let against = |found: &mut Vec<(Kind, String)>, reason| found.push((Kind::Contradiction, reason));
        if let Some(other) = self.negatives.get(&both) {
            against(
                &mut found,
                format!("its positive is a negative of the same query in {}", self.named(*other)),
            );
        }
        for (number, negative) in pair.negatives.iter().enumerate() {
            let wrong = combined(query, self.contents.key(negative));
            let number = number + 1;
            if wrong == both {
                against(&mut found, format!("its negative {number} is its positive"));
            } else if let Some(other) = self.positives.get(&wrong) {
                let other = self.named(*other);
                against(
                    &mut found,
                    format!("its negative {number} is the positive of the same query in {other}"),
                );
            }
            self.negatives.entry(wrong).or_insert(place);
        }
        found
    }

    /// The first thing of a pair that is held out.
    fn leaks(&self, pair: &Pair) -> Option<String> {
        let negatives = pair.negatives.iter().map(|negative| ("a negative", negative));
        let sides =
            [("its query", &pair.query), ("its positive", &pair.positive)].into_iter().chain(negatives);
        sides.into_iter().find_map(|(name, input)| {
            let medium = super::content::files(input).find_map(|path| {
                let other = self.leaking.get(&self.contents.id(path)?)?;
                let is = if *other == path { "held out".into() } else { other.display().to_string() };
                Some(format!("{name} holds {}, which is {is}", path.display()))
            });
            medium.or_else(|| {
                let (text, other) =
                    super::content::texts(input).find_map(|text| Some((text, self.held_out.text(text)?)))?;
                Some(format!("{name} holds the text {text:?} of {}", other.display()))
            })
        })
    }
}
