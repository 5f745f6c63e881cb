//! Peers, and who asks them, that are programs of their own: where they are, if they are there.
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where each of them is; `None` where it is not installed.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    pub(crate) node: Option<PathBuf>,
    pub(crate) bun: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) pm2: Option<PathBuf>,
    /// Asks by HTTP/2.
    pub(crate) h2load: Option<PathBuf>,
}

impl Installed {
    pub(crate) fn here() -> Self {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/node_modules/.bin");
        Self {
            node: find("node", &[]),
            bun: find("bun", &[&modules]),
            pm2: find("pm2", &[&modules]),
            h2load: find("h2load", &[]),
            // Not on the path of everybody who is not root.
            nginx: find("nginx", &[Path::new("/usr/sbin"), Path::new("/usr/local/sbin")]),
        }
    }
}

/// On PATH, then in `others`.
fn find(program: &str, others: &[&Path]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(others.iter().map(|folder| folder.to_path_buf()));
    folders.map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_or_beside_it() {
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("no-such-program-as-this", &[]), None);
        let sh = find("sh", &[]).expect("a shell");
        let folder = sh.parent().expect("it is in a folder");
        assert!(find("sh", &[folder]).is_some());
    }

    #[test]
    fn a_folder_and_a_text_are_no_programs() {
        assert!(!is_program(Path::new("/proc")));
        assert!(!is_program(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")));
    }
}
