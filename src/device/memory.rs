//! How much memory is left, as Linux tells it in `/proc` and in control groups.

use std::path::{Path, PathBuf};

/// Bytes that this process can still get by the files below `root`; `None` where they do not say.
pub(super) fn available(root: &Path) -> Option<u64> {
    let meminfo = read(&root.join("proc/meminfo"))?;
    let kibibytes = |key: &str| value_of(&meminfo, key).and_then(|kib| kib.checked_mul(1024));
    let free = kibibytes("MemAvailable:")?;
    let swap = kibibytes("SwapFree:").unwrap_or(0);
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mut least = free.saturating_add(swap);
    for directory in group_directories(root, &groups) {
        if let Some(left) = left_in_group(&directory) {
            let may_swap = read(&directory.join("memory.swap.max")).is_none_or(|max| max.trim() != "0");
            least = least.min(left.saturating_add(if may_swap { swap } else { 0 }));
        }
    }
    Some(least)
}

/// What this process has, by a key of its status.
#[cfg(feature = "train")]
pub(super) fn resident(root: &Path, key: &str) -> Option<u64> {
    value_of(&read(&root.join("proc/self/status"))?, key)?.checked_mul(1024)
}

/// Has `VmHWM` begin anew.
#[cfg(feature = "train")]
pub(super) fn forget_peak(root: &Path) -> Option<()> {
    std::fs::write(root.join("proc/self/clear_refs"), "5").ok()
}

/// The control groups that limit this process, and those around them, of both versions. In a container its
/// own group is mounted as the outermost.
fn group_directories(root: &Path, groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => root.join("sys/fs/cgroup"),
            list if list.split(',').any(|name| name == "memory") => root.join("sys/fs/cgroup/memory"),
            _ => continue,
        };
        let group = mount.join(path.trim_start_matches('/'));
        found.extend(group.ancestors().take_while(|place| place.starts_with(&mount)).map(Path::to_owned));
    }
    found
}

/// Bytes up to the limit of a group. Cached files in it make room when they have to.
fn left_in_group(directory: &Path) -> Option<u64> {
    let number = |name: &str| read(&directory.join(name))?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = read(&directory.join("memory.stat")).unwrap_or_default();
    let cached = ["file", "total_cache"].iter().find_map(|key| value_of(&stat, key)).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// The first number behind `key` at the beginning of a line.
fn value_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| if words.next() == Some(key) { words.next()?.parse().ok() } else { None })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 1000 kB\nMemAvailable:    4000 kB\nSwapFree: 100 kB\n");

    #[test]
    fn the_least_of_all_limits_is_what_is_left() {
        let kib = |n: u64| Some(n * 1024);
        assert_eq!(system(&[]), None);
        assert_eq!(system(&[("proc/meminfo", "MemTotal: 9 kB\n")]), None);
        assert_eq!(system(&[MEMINFO]), kib(4100));
        let group = ("proc/self/cgroup", "0::/user/gve\n");
        // No limit, and one that leaves more than there is.
        assert_eq!(system(&[MEMINFO, group, ("sys/fs/cgroup/user/gve/memory.max", "max\n")]), kib(4100));
        let in_group = |place: &str, stat: &str, swap: &str| {
            let name = |file: &str| format!("sys/fs/cgroup{place}/{file}");
            system(&[
                MEMINFO,
                group,
                (&name("memory.max"), "3072000"),
                (&name("memory.current"), "2048000"),
                (&name("memory.stat"), stat),
                (&name("memory.swap.max"), swap),
            ])
        };
        assert_eq!(in_group("/user/gve", "anon 1024000\nfile 1024000\n", "0\n"), kib(2000));
        assert_eq!(in_group("/user", "", "0\n"), kib(1000));
        assert_eq!(in_group("", "", "max\n"), kib(1100));
        // Version 1.
        let old = [
            MEMINFO,
            ("proc/self/cgroup", "9:cpu,cpuacct:/a\n4:memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2048000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1536000"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_cache 512000\n"),
        ];
        assert_eq!(system(&old), kib(1100));
    }
}
