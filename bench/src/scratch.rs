//! Folders for the time of a run.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

/// A folder that is removed with all in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = all().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Goes with the last one in it.
        let _ = fs::remove_dir(all());
    }
}

/// Removes what this process has made, for when destructors do not run.
pub(crate) fn remove_all() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn all() -> PathBuf {
    env::temp_dir().join(prefix() + "bench")
}

/// How the names of all folders start that this process makes, also those of `cluster_core::testing`.
fn prefix() -> String {
    format!("cluster-{}-", process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_what_is_in_it_and_leaves_others() {
        let (one, other) = (Scratch::new().expect("a folder"), Scratch::new().expect("another"));
        let path = one.path().to_owned();
        fs::write(path.join("file"), "text").expect("it can be written to");
        drop(one);
        assert!(!path.exists() && other.path().is_dir());
    }
}
