//! How full a file system is.

use std::path::Path;

const MIB: f64 = 1024.0 * 1024.0;

/// A file system, as somebody who is not root may use it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileSystem {
    /// In use, in MiB.
    pub used_mb: f64,
    /// All there is, in MiB.
    pub size_mb: f64,
}

impl FileSystem {
    /// The file system that `path` is on, or will be on once it is made; `None` where that cannot be told.
    pub fn of(path: &Path) -> Option<Self> {
        let path =
            if path.is_absolute() { path.to_owned() } else { std::env::current_dir().ok()?.join(path) };
        let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
        // As df counts: what is kept for root is neither used nor free.
        let blocks = |count: u64| count as f64 * stat.f_frsize as f64 / MIB;
        let used_mb = blocks(stat.f_blocks.saturating_sub(stat.f_bfree));
        Some(Self { used_mb, size_mb: used_mb + blocks(stat.f_bavail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_df_says() {
        let folder = tempfile::tempdir().unwrap();
        let found = FileSystem::of(&folder.path().join("not/made/yet")).unwrap();
        let mut df = std::process::Command::new("df");
        let output = df.args(["-Pk"]).arg(folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let fields: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let kib = |at: usize| fields[at].parse::<f64>().unwrap() / 1024.0;
        // Others write meanwhile.
        let near = |a: f64, b: f64| (a - b).abs() < 0.05 * b + 64.0;
        assert!(near(found.used_mb, kib(2)), "{found:?} {text}");
        assert!(near(found.size_mb, kib(2) + kib(3)), "{found:?} {text}");
    }
}
