use std::collections::{BTreeMap, HashSet};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Pair, PairsError, Task};
use crate::store::{IoError, open_regular_file};
use crate::text::{LineError, Lines};

/// Where every pair of some files lies. The pairs themselves stay on disk, so that millions of them cost 24
/// bytes each.
#[derive(Debug)]
pub struct PairIndex {
    files: Vec<PathBuf>,
    tasks: Vec<TaskPairs>,
}

/// The pairs of one task.
#[derive(Debug)]
pub struct TaskPairs {
    task: Task,
    rows: Vec<Row>,
    groups: Arc<[usize]>,
}

/// A line of a file.
#[derive(Debug, Clone, Copy)]
struct Row {
    file: u32,
    line: u32,
    offset: u64,
}

/// What a set of pair files is, to notice that it is another one: pairs and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Pairs per task.
    pub pairs: BTreeMap<String, usize>,
    /// Size of all files in bytes.
    pub bytes: u64,
}

impl PairIndex {
    /// Reads every line of `files` once and checks it; with `check_media`, also that the files it names are
    /// there.
    ///
    /// # Errors
    /// The first line that is no pair or names a missing file, by file and line; a file that cannot be read;
    /// no pairs at all.
    pub fn open(files: &[PathBuf], check_media: bool) -> Result<Self, PairsError> {
        let mut tasks: BTreeMap<Task, Grouped> = BTreeMap::new();
        let mut seen = HashSet::new();
        for (file, path) in (0..).zip(files) {
            for_each_line(path, |line, offset, text| {
                let fault = |reason| PairsError::Pair { path: path.clone(), line: line as usize, reason };
                let pair = Pair::from_json(text, base(path)).map_err(fault)?;
                let row = Row { file, line, offset };
                tasks.entry(pair.task).or_default().push(row, pair.group.as_deref());
                if check_media {
                    for media in pair.files() {
                        if seen.insert(media.to_owned()) {
                            require_file(media).map_err(fault)?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        if tasks.is_empty() {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            return Err(PairsError::NoPairs(names.join(", ")));
        }
        let tasks = tasks.into_iter().map(|(task, pairs)| pairs.finish(task)).collect();
        Ok(Self { files: files.to_vec(), tasks })
    }

    /// The tasks there are pairs of, in an order that depends on nothing but them.
    pub fn tasks(&self) -> &[TaskPairs] {
        &self.tasks
    }

    /// Pairs of all tasks.
    pub fn num_pairs(&self) -> usize {
        self.tasks.iter().map(TaskPairs::len).sum()
    }

    /// The files, each with how many pairs it has.
    pub fn pairs_by_file(&self) -> Vec<(&Path, usize)> {
        let mut counts: Vec<_> = self.files.iter().map(|file| (file.as_path(), 0)).collect();
        for row in self.tasks.iter().flat_map(|task| &task.rows) {
            if let Some((_, count)) = counts.get_mut(row.file as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Makes every pair a group of its own.
    pub fn ungroup(&mut self) {
        for task in &mut self.tasks {
            task.groups = (0..=task.len()).collect();
        }
    }

    /// Reads one pair.
    ///
    /// # Errors
    /// The file changed since it was indexed, or cannot be read.
    pub fn read(&self, task: usize, row: usize) -> Result<Pair, PairsError> {
        let (path, row) = self.locate(task, row)?;
        let mut file = open_regular_file(path).map_err(IoError::of("open", path))?;
        file.seek(SeekFrom::Start(row.offset)).map_err(IoError::of("read", path))?;
        let fault = |reason| PairsError::Pair { path: path.to_owned(), line: row.line as usize, reason };
        let text = match Lines::new(file).next() {
            Some(Ok(line)) => line.text,
            Some(Err(LineError::Io(error))) => return Err(IoError::of("read", path)(error).into()),
            Some(Err(LineError::Text { reason, .. })) => return Err(fault(reason)),
            None => String::new(),
        };
        let pair = Pair::from_json(&text, base(path)).map_err(fault)?;
        if pair.task != self.tasks[task].task {
            return Err(fault("the file was changed while it was in use".to_owned()));
        }
        Ok(pair)
    }

    /// File and line of a pair, as `path:line`.
    pub fn place(&self, task: usize, row: usize) -> String {
        match self.locate(task, row) {
            Ok((path, row)) => format!("{}:{}", path.display(), row.line),
            Err(_) => format!("pair {row} of task {task}"),
        }
    }

    /// What the files are now.
    ///
    /// # Errors
    /// A file is gone.
    pub fn extent(&self) -> Result<Extent, PairsError> {
        let sizes = self
            .files
            .iter()
            .map(|path| path.metadata().map(|m| m.len()).map_err(IoError::of("look at", path)));
        Ok(Extent {
            pairs: self.tasks.iter().map(|t| (t.task.to_string(), t.len())).collect(),
            bytes: sizes.sum::<Result<u64, IoError>>()?,
        })
    }

    fn locate(&self, task: usize, row: usize) -> Result<(&Path, Row), PairsError> {
        let found = self.tasks.get(task).and_then(|t| t.rows.get(row));
        let row = found.ok_or(PairsError::NoSuchPair { task, row })?;
        Ok((&self.files[row.file as usize], *row))
    }
}

impl TaskPairs {
    /// The task.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Number of pairs, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of the first pair of each group, and at last the number of pairs. A pair without a group is
    /// one of its own.
    pub fn groups(&self) -> &Arc<[usize]> {
        &self.groups
    }
}

/// The pairs of a task as they are read.
#[derive(Default)]
struct Grouped {
    rows: Vec<Row>,
    starts: Vec<usize>,
    group: Option<String>,
}

impl Grouped {
    fn push(&mut self, row: Row, group: Option<&str>) {
        if group.is_none() || group != self.group.as_deref() {
            self.starts.push(self.rows.len());
            self.group = group.map(str::to_owned);
        }
        self.rows.push(row);
    }

    fn finish(mut self, task: Task) -> TaskPairs {
        self.starts.push(self.rows.len());
        TaskPairs { task, rows: self.rows, groups: self.starts.into() }
    }
}

/// The directory that relative paths in `file` are relative to.
fn base(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn require_file(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(format!("{} is not a file", path.display())),
        Err(error) => Err(format!("cannot use {}: {error}", path.display())),
    }
}

/// Calls `visit` with number, byte offset and text of each line that is not blank.
fn for_each_line(
    path: &Path,
    mut visit: impl FnMut(u32, u64, &str) -> Result<(), PairsError>,
) -> Result<(), PairsError> {
    for line in Lines::new(open_regular_file(path).map_err(IoError::of("open", path))?) {
        let line = line.map_err(|error| match error {
            LineError::Text { number, reason } => {
                PairsError::Pair { path: path.to_owned(), line: number, reason }
            }
            LineError::Io(error) => IoError::of("read", path)(error).into(),
        })?;
        visit(line.number as u32, line.offset, &line.text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task: &str, text: &str, file: &str) -> String {
        let target = if task.ends_with('v') { "video" } else { "image" };
        serde_json::json!({
            "task": task, "query": {"content": [{"type": "text", "text": text}]},
            "positive": {"content": [{"type": target, target: file}]},
        })
        .to_string()
    }

    fn write(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    #[test]
    fn pairs_of_several_files_are_found_by_task() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.mp4"), "").unwrap();
        let one = [line("t2v", "first", "a.mp4"), String::new(), line("t2i", "second, naïve", "a.mp4")];
        let two = [line("t2v", "third", "a.mp4"), line("t2v", "fourth", "a.mp4")];
        let files = [write(folder.path(), "1.jsonl", &one), write(folder.path(), "2.jsonl", &two)];
        let index = PairIndex::open(&files, true).unwrap();
        let tasks: Vec<_> = index.tasks().iter().map(|t| (t.task().to_string(), t.len())).collect();
        assert_eq!(tasks, [("t2v".to_owned(), 3), ("t2i".to_owned(), 1)]);
        assert_eq!(index.num_pairs(), 4);
        let query = |task, row| index.read(task, row).unwrap().query;
        assert_eq!(query(1, 0), crate::Input::text("second, naïve"));
        assert_eq!(
            [query(0, 0), query(0, 1), query(0, 2)],
            ["first", "third", "fourth"].map(crate::Input::text)
        );
        assert_eq!(index.place(0, 2), format!("{}:2", files[1].display()));
        assert!(index.read(0, 3).is_err() && index.read(2, 0).is_err());

        let extent = index.extent().unwrap();
        assert_eq!(extent.pairs["t2v"], 3);
        let more = write(folder.path(), "2.jsonl", &[line("t2v", "other", "a.mp4")]);
        assert_ne!(PairIndex::open(&[files[0].clone(), more], true).unwrap().extent().unwrap(), extent);
        assert!(index.read(0, 2).unwrap_err().to_string().contains("2.jsonl:2"), "the file was cut");
    }

    #[test]
    fn lines_of_a_group_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        let grouped = |group: Option<&str>| match group {
            Some(name) => line("t2v", "q", "a.mp4").replacen('{', &format!(r#"{{"group": "{name}","#), 1),
            None => line("t2v", "q", "a.mp4"),
        };
        let lines = [Some("x"), Some("x"), None, None, Some("y"), Some("x")].map(grouped);
        let mut index = PairIndex::open(&[write(folder.path(), "1.jsonl", &lines)], false).unwrap();
        assert_eq!(index.tasks()[0].groups()[..], [0, 2, 3, 4, 5, 6]);
        index.ungroup();
        assert_eq!(index.tasks()[0].groups()[..], [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn pairs_are_found_behind_marks_and_other_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.mp4"), "").unwrap();
        let path = folder.path().join("pairs.jsonl");
        let [one, two] = ["first", "second"].map(|text| line("t2v", text, "a.mp4"));
        std::fs::write(&path, format!("\u{feff}{one}\r\n\r\n\u{feff}{two}\r\n")).unwrap();
        let index = PairIndex::open(std::slice::from_ref(&path), true).unwrap();
        for (row, text) in ["first", "second"].into_iter().enumerate() {
            assert_eq!(index.read(0, row).unwrap().query, crate::Input::text(text));
        }
        assert!(index.place(0, 1).ends_with("pairs.jsonl:3"), "{}", index.place(0, 1));
    }

    #[test]
    fn faults_name_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let bad = [line("t2v", "a", "gone.mp4"), "{".to_owned()];
        let path = write(folder.path(), "bad.jsonl", &bad);
        let message = |check| PairIndex::open(std::slice::from_ref(&path), check).unwrap_err().to_string();
        assert!(message(true).contains("bad.jsonl:1: cannot use") && message(true).contains("gone.mp4"));
        assert!(message(false).contains("bad.jsonl:2: not a training pair"));
        let empty = write(folder.path(), "empty.jsonl", &[String::new()]);
        assert!(PairIndex::open(&[empty], true).unwrap_err().to_string().contains("empty.jsonl"));
        let binary = folder.path().join("binary.jsonl");
        std::fs::write(&binary, b"\n\xff\xfe\n").unwrap();
        assert!(
            PairIndex::open(&[binary], true).unwrap_err().to_string().contains("binary.jsonl:2: not UTF-8")
        );
        let missing = folder.path().join("missing.jsonl");
        assert!(PairIndex::open(&[missing], true).unwrap_err().to_string().contains("missing.jsonl"));
    }
}
