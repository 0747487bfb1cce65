use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// How many files a search did not take, and why. Displays as `3 without an ending, 2 .dat, 1 hidden`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// Files that are not known for videos or images, by their extension in lower case; empty for those
    /// without one.
    pub unknown: BTreeMap<String, usize>,
    /// Hidden files and folders.
    pub hidden: usize,
    /// Files and folders that were to be [left out](super::FindOptions::exclude).
    pub excluded: usize,
    /// Links to folders.
    pub folder_links: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
    /// Pictures of kinds that this program has no decoder for, by their extension in lower case: HEIC and
    /// AVIF, where there is no FFmpeg or one without the decoder.
    pub undecodable: BTreeMap<String, usize>,
    /// Where all of these lie, in the order of their names. What is in hidden and excluded folders, and behind
    /// links to folders, is not searched.
    pub paths: Vec<PathBuf>,
}

impl PassedOver {
    /// Whether nothing was passed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the counts of another search.
    pub fn add(&mut self, other: &Self) {
        let Self { unknown, hidden, excluded, folder_links, special, undecodable, paths } = other;
        for (extension, count) in unknown {
            *self.unknown.entry(extension.clone()).or_default() += count;
        }
        for (extension, count) in undecodable {
            *self.undecodable.entry(extension.clone()).or_default() += count;
        }
        self.paths.extend_from_slice(paths);
        self.hidden += hidden;
        self.excluded += excluded;
        self.folder_links += folder_links;
        self.special += special;
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unknown: Vec<_> = self.unknown.iter().collect();
        unknown.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut parts: Vec<String> = unknown
            .into_iter()
            .map(|(extension, count)| match extension.as_str() {
                "" => format!("{count} without an ending"),
                extension => format!("{count} .{extension}"),
            })
            .collect();
        let undecodable = self.undecodable.iter();
        parts.extend(undecodable.map(|(extension, count)| {
            format!("{count} .{extension}, for which there is no decoder in FFmpeg here")
        }));
        for (count, one, several) in [
            (self.hidden, "hidden", "hidden"),
            (self.excluded, "excluded", "excluded"),
            (self.folder_links, "link to a folder", "links to folders"),
            (self.special, "pipe, socket or device", "pipes, sockets or devices"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {}", if count == 1 { one } else { several }));
            }
        }
        f.write_str(&parts.join(", "))
    }
}
