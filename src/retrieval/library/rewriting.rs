//! Forgetting files, saying that rows are of other files, and joining segments.
//!
//! Each is one new segment, so that whatever ends the program it is done or it is not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::catalog::{Catalog, Segments, segments_directory};
use super::content::ContentHash;
use super::entry::{FileFingerprint, LibraryRow, Place};
use super::segment::{Replaced, Segment};
use super::segment_reader::SegmentReader;
use super::segment_writer::path_text;
use super::tags::{CopiedTags, TagTable};
use super::writer::{KnownFile, LibraryWriter, MAX_SEGMENTS, damaged_file, readable};
use crate::retrieval::RetrievalError;
use crate::store::IoError;

/// Of the rows on disk one in so many may count no more before the rest is written anew.
const DEAD_SHARE: usize = 4;
/// A segment that is left alone when newer ones are joined has more than so many times the rows of these.
const JOINED_RATIO: usize = 4;
/// Segments that are joined, at least.
const MIN_JOINED: usize = 8;
/// Files that one segment may forget; for more, the rest is written anew.
const MAX_MARKS: usize = 1 << 16;

/// That the rows of a file are those of another as well, or of the same in a newer state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Carried {
    /// The file whose rows they are.
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    /// The state of the file at `to`.
    pub(crate) fingerprint: FileFingerprint,
    pub(crate) content: Option<ContentHash>,
    /// Whether `from` has them no more.
    pub(crate) is_move: bool,
}

impl LibraryWriter {
    /// Forgets files; gives back how many of them the library had.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::flush`] and [`LibraryWriter::compact`]. [`RetrievalError::DamagedTags`], after
    /// which the files are gone and their tags may be left.
    pub fn remove<P: AsRef<Path>>(&mut self, paths: &[P]) -> Result<usize, RetrievalError> {
        self.flush()?;
        let known = paths.iter().map(AsRef::as_ref).filter(|path| self.has(path));
        let gone: HashSet<PathBuf> = known.map(Path::to_owned).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        if self.is_much_dead(|path| !gone.contains(path)) || gone.len() > MAX_MARKS {
            self.compact_as(&|path| (!gone.contains(path)).then(|| path.to_owned()))?;
        } else {
            self.mark(&gone)?;
        }
        self.forget_tags(&gone.iter().map(PathBuf::as_path).collect(), &CopiedTags::new())?;
        Ok(gone.len())
    }

    /// Has the rows of files count no more.
    fn mark(&mut self, gone: &HashSet<PathBuf>) -> Result<(), RetrievalError> {
        let mut writer = self.start_segment(None)?;
        for path in gone {
            writer.forget(path)?;
        }
        writer.finish()?;
        self.files.retain(|path, _| !gone.contains(path));
        self.count_segment()
    }

    /// Forgets all files for which `keep` is false; gives back how many went.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::remove`].
    pub fn prune(&mut self, mut keep: impl FnMut(&Path) -> bool) -> Result<usize, RetrievalError> {
        let gone: Vec<PathBuf> = self.paths().filter(|path| !keep(path)).map(Path::to_owned).collect();
        self.remove(&gone)
    }

    /// Has the rows of the file `from` be those of `to`, as after it was renamed; gives back whether there
    /// were any.
    ///
    /// # Errors
    /// [`RetrievalError::Relocation`] where the library has the file `to` already; [`RetrievalError::PathNotUtf8`];
    /// [`RetrievalError::Io`]. Nothing is done then.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<bool, RetrievalError> {
        path_text(to)?;
        let Some(file) = self.files.get(from) else { return Ok(false) };
        if from == to {
            return Ok(true);
        }
        if self.has(to) {
            return Err(RetrievalError::Relocation { path: to.to_owned() });
        }
        let (fingerprint, content) = (file.fingerprint, file.content);
        self.carry(&[Carried { from: from.into(), to: to.into(), fingerprint, content, is_move: true }])?;
        Ok(true)
    }

    /// Writes the rows of files down again as those of others, all in one step. What the library had of these
    /// is forgotten. None of them is told of that the library has nothing of.
    pub(crate) fn carry(&mut self, carried: &[Carried]) -> Result<(), RetrievalError> {
        self.flush()?;
        // Whose rows they become, by where they are.
        let mut targets: BTreeMap<u64, HashMap<usize, Vec<&Carried>>> = BTreeMap::new();
        let mut files: HashMap<PathBuf, KnownFile> = HashMap::new();
        let mut forgotten: HashSet<&Path> = HashSet::new();
        for one in carried {
            let Some(file) = self.files.get(&one.from) else { continue };
            for &Place { sequence, row } in &file.places {
                targets.entry(sequence).or_default().entry(row).or_default().push(one);
            }
            let Carried { fingerprint, content, .. } = *one;
            files.insert(one.to.clone(), KnownFile { kind: file.kind, fingerprint, content, places: vec![] });
            forgotten.extend(one.is_move.then_some(one.from.as_path()));
            forgotten.extend((one.from != one.to && self.has(&one.to)).then_some(one.to.as_path()));
        }
        if files.is_empty() {
            return Ok(());
        }
        let moves = || carried.iter().filter(|one| one.is_move && one.from != one.to);
        let copied = match moves().next() {
            Some(_) => self.copy_tags(moves().map(|one| (one.from.as_path(), one.to.as_path())))?,
            None => CopiedTags::new(),
        };
        let mut writer = self.start_segment(None)?;
        let (sequence, mut rows) = (self.next_sequence, 0);
        for segment in Segment::list(&segments_directory(&self.directory))? {
            let Some(mut targets) = targets.remove(&segment.sequence) else { continue };
            let wanted: BTreeSet<usize> = targets.keys().copied().collect();
            let reader = SegmentReader::open(&segment, self.manifest.dim, self.manifest.settings_checksum())?;
            let (mut damage, mut written) = (Vec::new(), Ok(()));
            reader.read_groups(
                self.manifest.dim,
                &|group| wanted.range(group.clone()).next().is_some(),
                &mut damage,
                &mut |number, entry, embedding| {
                    for one in targets.remove(&number).unwrap_or_default() {
                        if written.is_ok() {
                            let mut entry = entry.clone();
                            entry.path.clone_from(&one.to);
                            (entry.fingerprint, entry.content) = (one.fingerprint, one.content);
                            written = writer.push(LibraryRow { entry, embedding: embedding.to_vec() });
                            if let Some(file) = files.get_mut(&one.to) {
                                file.places.push(Place { sequence, row: rows });
                            }
                            rows += 1;
                        }
                    }
                },
            )?;
            written?;
            if !targets.is_empty() {
                // Decayed since its codes were made. The next writer reads all of it, and keeps the rest.
                segment.remove_codes().map_err(IoError::of("remove", segment.codes()))?;
                return Err(damage.pop().unwrap_or_else(|| self.changed()));
            }
        }
        if !targets.is_empty() {
            return Err(self.changed());
        }
        for path in &forgotten {
            writer.forget(path)?;
        }
        writer.finish()?;
        self.files.retain(|path, _| !forgotten.contains(path.as_path()));
        self.files.extend(files);
        self.rows += rows;
        self.count_segment()?;
        forgotten.retain(|path| !self.has(path));
        if forgotten.is_empty() { Ok(()) } else { self.forget_tags(&forgotten, &copied) }
    }

    /// Has the files beneath the folder `from` lie beneath `to` instead, as after their drive was mounted
    /// elsewhere, or the file `from` at `to`: their rows stay as they are. Gives back how many files these are.
    ///
    /// # Errors
    /// [`RetrievalError::PathNotUtf8`]; [`RetrievalError::Relocation`] where the library has a file of that path
    /// already, with nothing done; those of [`LibraryWriter::compact`].
    pub fn relocate(&mut self, from: &Path, to: &Path) -> Result<usize, RetrievalError> {
        path_text(to)?;
        let moved = |path: &Path| {
            let rest = path.strip_prefix(from).ok()?;
            // Joined with nothing it would end in a separator.
            Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
        };
        let moves: HashMap<PathBuf, PathBuf> =
            self.paths().filter_map(|path| Some((path.to_owned(), moved(path)?))).collect();
        let taken = |target: &&PathBuf| self.has(target) && !moves.contains_key(*target);
        if let Some(taken) = moves.values().find(taken) {
            return Err(RetrievalError::Relocation { path: taken.clone() });
        }
        if !moves.is_empty() {
            // What was said of files whose rows are damaged is not lost with these.
            let others = TagTable::read(&self.directory)?.into_paths().filter(|path| !self.has(path));
            let others = others.filter_map(|path| moved(&path).map(|to| (path, to)));
            let others: Vec<(PathBuf, PathBuf)> = others.filter(|(_, to)| !self.has(to)).collect();
            let others = || others.iter().map(|(from, to)| (from, to));
            let tagged = moves.iter().chain(others()).map(|(from, to)| (from.as_path(), to.as_path()));
            let copied = self.copy_tags(tagged)?;
            self.compact_as(&|path| Some(moves.get(path).map_or(path, PathBuf::as_path).to_owned()))?;
            let from = moves.keys().chain(others().map(|(from, _)| from)).map(PathBuf::as_path);
            let gone = from.filter(|path| !self.has(path)).collect();
            self.forget_tags(&gone, &copied)?;
        }
        Ok(moves.len())
    }

    /// Joins all segments into one that holds the live rows alone. Damaged ones are set aside.
    ///
    /// # Errors
    /// [`RetrievalError::Io`], and [`RetrievalError::DamagedRows`] where rows have decayed since their codes
    /// were made: the next writer finds that when it opens the library. Nothing is lost then, nor when killed.
    pub fn compact(&mut self) -> Result<(), RetrievalError> {
        self.compact_as(&|path| Some(path.to_owned()))
    }

    /// As [`compact`](Self::compact), with the paths that `becomes` gives for those of files; without those
    /// for which it gives none.
    fn compact_as(&mut self, becomes: &dyn Fn(&Path) -> Option<PathBuf>) -> Result<(), RetrievalError> {
        self.flush()?;
        let all = Segment::list(&segments_directory(&self.directory))?;
        if all.is_empty() && self.damage.is_empty() {
            return Ok(());
        }
        let Catalog { entries, live, damage, incomplete, .. } =
            readable(Segments::open(&self.directory, &self.manifest)?.catalog(&mut |_| {})?)?;
        let damage = self.known_damage(damage)?;
        let mut writer =
            self.start_segment((self.next_sequence > 1).then(|| Replaced::through(self.next_sequence - 1)))?;
        let mut files: HashMap<PathBuf, KnownFile> = HashMap::new();
        let mut place = Place { sequence: self.next_sequence, row: 0 };
        let (mut rows, mut written) = (entries.iter().zip(live), Ok(()));
        Segments::open(&self.directory, &self.manifest)?.read(
            &mut Vec::new(),
            &mut |_, mut entry, embedding| {
                let expected = rows.next().filter(|(expected, _)| **expected == entry);
                if written.is_err() {
                    return;
                }
                let Some((_, live)) = expected else {
                    written = Err(self.changed());
                    return;
                };
                if let Some(path) = live.then(|| becomes(&entry.path)).flatten() {
                    if incomplete.contains(&entry.path) {
                        entry.forget_state();
                    }
                    entry.path = path;
                    let file = files.entry(entry.path.clone()).or_insert_with(|| KnownFile::of(&entry));
                    file.places.push(place);
                    place.row += 1;
                    written = writer.push(LibraryRow { entry, embedding: embedding.to_vec() });
                }
            },
        )?;
        written?;
        if rows.next().is_some() {
            return Err(self.changed());
        }
        writer.finish()?;
        self.count_segment()?;
        self.damage.clear();
        (self.files, self.rows) = (files, place.row);
        // From here on the old segments count no more, whether or not they are still there.
        let damaged = damage.iter().filter_map(damaged_file).collect::<HashSet<_>>();
        all.iter().try_for_each(|segment| {
            if damaged.contains(segment.path.as_path()) { segment.set_aside() } else { segment.remove() }
        })
    }

    /// Fails where rows have decayed since their codes were made, by which the library was opened. The next
    /// writer reads all of them, tells of it and keeps the rest.
    fn known_damage(&self, mut damage: Vec<RetrievalError>) -> Result<Vec<RetrievalError>, RetrievalError> {
        let known: HashSet<String> = self.damage.iter().map(ToString::to_string).collect();
        let is_new = |error: &RetrievalError| {
            matches!(error, RetrievalError::DamagedRows { .. }) && !known.contains(&error.to_string())
        };
        let Some(new) = damage.iter().position(is_new) else { return Ok(damage) };
        let error = damage.swap_remove(new);
        for segment in Segment::list(&segments_directory(&self.directory))? {
            if damaged_file(&error) == Some(&segment.path) {
                segment.remove_codes().map_err(IoError::of("remove", segment.codes()))?;
            }
        }
        Err(error)
    }

    /// Joins the newest segments, as many as are small beside those before: what is large is not written anew
    /// for what comes to it.
    ///
    /// # Errors
    /// Those of [`compact`](Self::compact).
    pub(super) fn join_newest(&mut self) -> Result<(), RetrievalError> {
        let segments = Segments::open(&self.directory, &self.manifest)?;
        let first = first_joined(&segments.readers.iter().map(SegmentReader::rows).collect::<Vec<_>>());
        let Some((joined, _)) = segments.readers[first..].split_first() else { return Ok(()) };
        // What cannot be read at present may be the marks of files that are forgotten.
        if first == 0 || !segments.damage.is_empty() {
            return self.compact();
        }
        let joins = segments.readers[first..]
            .iter()
            .map(|reader| reader.replaces.map_or(reader.segment.sequence, |r| r.first));
        let first_replaced = joins.min().unwrap_or(joined.segment.sequence);
        let (first, last) = (joined.segment.sequence, self.next_sequence - 1);
        let live = self.files.values().flat_map(|file| &file.places).filter(|place| place.sequence >= first);
        let live: HashSet<Place> = live.copied().collect();
        let mut writer = self.start_segment(Some(Replaced { first: first_replaced, last }))?;
        let (mut moved, mut written) = (HashMap::new(), Ok(()));
        let mut damage = Vec::new();
        for reader in segments.readers.iter().filter(|reader| reader.segment.sequence >= first) {
            reader.forgets.iter().try_for_each(|path| writer.forget(Path::new(path)))?;
            let sequence = reader.segment.sequence;
            reader.read(self.manifest.dim, &mut damage, &mut |row, entry, embedding| {
                let place = Place { sequence, row };
                if written.is_ok() && live.contains(&place) {
                    moved.insert(place, Place { sequence: self.next_sequence, row: moved.len() });
                    written = writer.push(LibraryRow { entry, embedding: embedding.to_vec() });
                }
            })?;
        }
        written?;
        if !damage.is_empty() || moved.len() != live.len() {
            return self.compact();
        }
        writer.finish()?;
        self.count_segment()?;
        let dead: usize = segments.readers[..]
            .iter()
            .filter(|reader| reader.segment.sequence >= first)
            .map(SegmentReader::rows)
            .sum();
        self.rows = self.rows - dead.min(self.rows) + moved.len();
        for place in self.files.values_mut().flat_map(|file| &mut file.places) {
            if let Some(new) = moved.get(place) {
                *place = *new;
            }
        }
        let all = Segment::list(&segments_directory(&self.directory))?;
        let replaced = Replaced { first: first_replaced, last };
        all.iter().filter(|segment| replaced.contains(segment.sequence)).try_for_each(Segment::remove)
    }

    /// Whether so much on disk counts no more that the rest is to be written anew, with these files alone.
    pub(super) fn is_much_dead(&self, keep: impl Fn(&Path) -> bool) -> bool {
        let live = self.files.iter().filter(|(path, _)| keep(path));
        let live: usize = live.map(|(_, file)| file.places.len()).sum();
        self.rows.saturating_sub(live) * DEAD_SHARE > self.rows
    }

    /// What was read twice was not the same twice.
    fn changed(&self) -> RetrievalError {
        let reason = "it changed while it was read".to_owned();
        RetrievalError::DamagedSegment { path: segments_directory(&self.directory), reason }
    }
}

/// The first of the segments that are joined, by the rows of each.
fn first_joined(sizes: &[usize]) -> usize {
    let mut behind = 0_usize;
    for (number, &rows) in sizes.iter().enumerate().rev() {
        behind += rows;
        let is_large = number > 0 && sizes[number - 1] > behind.saturating_mul(JOINED_RATIO);
        if sizes.len() - number >= MIN_JOINED && number < MAX_SEGMENTS && is_large {
            return number;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_segments_are_left_alone() {
        let small = [1; 40];
        for (large, expected) in
            [(&[][..], 0), (&[100], 0), (&[1000], 1), (&[100_000, 1000], 2), (&[1000, 100], 1)]
        {
            assert_eq!(first_joined(&[large, &small[..]].concat()), expected, "{large:?}");
        }
        assert_eq!(first_joined(&[1000, 1, 1]), 0, "too few to be worth it");
        let many = [&[1000; 40][..], &small[..]].concat();
        assert_eq!(first_joined(&many), 0, "what is left are no fewer than may be");
    }
}
