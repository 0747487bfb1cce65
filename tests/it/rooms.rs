//! The plan of the house, held against its source. `ARCHITECTURE.md` has a table of the rooms of `src/` and
//! of the rooms each of them uses, the lowest first. What the source uses has to be that, neither more nor
//! less, and nothing above.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The longest a file of source may be, in lines. Half of them are shorter than [`MEDIAN_FILE_LINES`].
const MAX_FILE_LINES: usize = 450;
const MEDIAN_FILE_LINES: usize = 200;

/// Modules of rooms that are rooms themselves, with a front door of their own.
const INNER_ROOMS: [&str; 7] = [
    "model::family",
    "model::qwen2_5_vl",
    "model::qwen2_vl",
    "model::qwen3_vl",
    "model::qwen_vl",
    "synth::flow",
    "synth::world",
];

/// Every room with the rooms it uses, the lowest first.
type Plan = Vec<(String, BTreeSet<String>)>;

/// What the source says of rooms.
#[derive(Default)]
struct Survey {
    /// Each room with the rooms it uses.
    uses: BTreeMap<String, BTreeSet<String>>,
    /// Ways into a room that are not its front door, with the file.
    side_doors: Vec<String>,
    /// Files that read the environment, but for where the home directory is.
    readers: Vec<String>,
}

/// Looks through one file.
struct Visitor<'a> {
    survey: &'a mut Survey,
    file: &'a str,
    /// The names from the root of the crate to the module that is looked at.
    module: Vec<String>,
}

impl Visitor<'_> {
    fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// Notes a path, written in this module.
    fn path(&mut self, names: &[String]) {
        if let [.., "env", name] = names.iter().map(String::as_str).collect::<Vec<_>>()[..]
            && name != "home_dir"
        {
            self.survey.readers.push(self.file.to_owned());
        }
        let up = names.iter().take_while(|name| *name == "super").count();
        let full: Vec<String> = match names.first().map(String::as_str) {
            Some("crate") => names[1..].to_vec(),
            Some("super") => {
                let kept = self.module.len().saturating_sub(up);
                self.module[..kept].iter().chain(&names[up..]).cloned().collect()
            }
            _ => return,
        };
        let Some(room) = full.first().filter(|room| *room != self.room()) else { return };
        let is_module = |name: &String| name.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_module(room) {
            self.survey.side_doors.push(format!("{}: crate::{room} lies in a room: name it", self.file));
            return;
        }
        self.survey.uses.entry(self.room().to_owned()).or_default().insert(room.clone());
        // A front door shows items; modules behind it are lower case and have something of theirs after them.
        let is_inner = full.len() > 1 && INNER_ROOMS.contains(&format!("{room}::{}", full[1]).as_str());
        let doors = if is_inner { 2 } else { 1 };
        if full.len() > doors + 1 && is_module(&full[doors]) {
            self.survey.side_doors.push(format!("{}: crate::{}", self.file, full.join("::")));
        }
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.path(before),
            syn::UseTree::Name(name) => self.path(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.path(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.path(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'a> Visit<'a> for Visitor<'_> {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&names);
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        // Unit tests may know what lies above.
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
        };
        if !item.attrs.iter().any(is_test) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The table between the lines "```rooms" and "```".
fn plan() -> Plan {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("```rooms\n").nth(1).and_then(|rest| rest.split("```").next());
    let rows =
        table.expect("a table of rooms").lines().map(|line| line.split_once(':').expect("`room: rooms`"));
    rows.map(|(room, uses)| (room.trim().into(), uses.split_whitespace().map(Into::into).collect())).collect()
}

/// All files of source beneath `folder`, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let files = walk(folder).into_iter();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn survey() -> Survey {
    let mut survey = Survey::default();
    let folder = root().join("src");
    for path in sources(&folder) {
        let name = path.strip_prefix(&folder).unwrap().with_extension("");
        let mut module: Vec<String> = name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        // The root shows all rooms, and a file of unit tests may know what lies above.
        if module == ["lib"] || module.last().is_some_and(|last| last.ends_with("tests")) {
            continue;
        }
        survey.uses.entry(module[0].clone()).or_default();
        let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        let shown = path.display().to_string();
        Visitor { survey: &mut survey, file: &shown, module }.visit_file(&file);
    }
    survey
}

#[test]
fn rooms_use_what_the_plan_says() {
    let plan = plan();
    let planned: BTreeMap<_, _> = plan.iter().cloned().collect();
    assert_eq!(planned.len(), plan.len(), "the plan in ARCHITECTURE.md has a room twice");
    let found = survey().uses;
    for (room, uses) in &found {
        let planned = planned.get(room).unwrap_or_else(|| panic!("ARCHITECTURE.md has no room `{room}`"));
        let more: Vec<_> = uses.difference(planned).collect();
        let fewer: Vec<_> = planned.difference(uses).collect();
        assert!(more.is_empty(), "`{room}` uses {more:?}, which the plan in ARCHITECTURE.md does not have");
        assert!(fewer.is_empty(), "`{room}` does not use {fewer:?}, which the plan in ARCHITECTURE.md has");
    }
    let missing: Vec<_> = planned.keys().filter(|room| !found.contains_key(*room)).collect();
    assert!(missing.is_empty(), "no rooms of source: {missing:?}");
}

#[test]
fn no_room_uses_one_above_it() {
    let mut lower = BTreeSet::new();
    for (room, uses) in plan() {
        let above: Vec<_> = uses.difference(&lower).collect();
        assert!(above.is_empty(), "`{room}` uses {above:?}, which the plan has above it");
        lower.insert(room);
    }
}

#[test]
fn rooms_are_entered_by_their_front_doors() {
    assert_eq!(survey().side_doors, [""; 0]);
}

/// Whoever uses the library says what it is to be; programs read the environment.
#[test]
fn the_environment_is_not_read() {
    let mut readers = survey().readers;
    // For unit tests alone.
    readers.retain(|file| !file.ends_with("ops/elsewhere.rs"));
    assert_eq!(readers, [""; 0]);
}

#[test]
fn files_are_short() {
    let folders =
        ["src", "cli", "benchmark", "tests", "examples", "benches"].map(|folder| root().join(folder));
    let files = folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| sources(folder));
    let mut lengths: Vec<_> =
        files.map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path)).collect();
    lengths.sort();
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > MAX_FILE_LINES).collect();
    assert!(long.is_empty(), "longer than {MAX_FILE_LINES} lines: {long:#?}");
    let (median, _) = lengths[lengths.len() / 2];
    assert!(median < MEDIAN_FILE_LINES, "half of the files are longer than {median} lines");
}
