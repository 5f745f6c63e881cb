//! The names of functions, and where they are written. This reads files and allocates: whoever calls it may be stuck
//! for ever, where the thread that hangs holds the allocator's lock.
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use addr2line::Loader;

use crate::dump::module::{Module, Modules};
use crate::dump::unwind::Frame;

/// A longer name is cut: those of generic types have no end.
const LONGEST_NAME: usize = 160;

/// What has been read of files.
#[derive(Default)]
pub(super) struct Names {
    /// By the number of the module; none where nothing can be read.
    files: Vec<(usize, Option<Loader>)>,
}

impl Names {
    /// What is said of a frame: mostly one line, and more where functions were inlined, the innermost first.
    pub(super) fn of(&mut self, frame: Frame, modules: &Modules) -> Vec<String> {
        let Some(number) = frame.module else { return vec![place(frame, modules)] };
        let Some(module) = modules.get(number) else { return vec![place(frame, modules)] };
        let is_program = is_program(module);
        let library = String::from_utf8_lossy(module.name());
        let at = frame.at.wrapping_sub(module.bias);
        let Some(file) = self.file(number, module) else { return vec![place(frame, modules)] };
        let mut described = described(file, at);
        if described.is_empty() {
            described.push(place(frame, modules));
        } else if !is_program {
            for line in &mut described {
                line.push_str(&format!(" in {library}"));
            }
        }
        described
    }

    fn file(&mut self, number: usize, module: &Module) -> Option<&Loader> {
        let known = self.files.iter().position(|(known, _)| *known == number);
        let at = known.unwrap_or_else(|| {
            self.files.push((number, load(module)));
            self.files.len() - 1
        });
        self.files[at].1.as_ref()
    }
}

/// Whether it is the program itself, and not a library.
fn is_program(module: &Module) -> bool {
    std::fs::read_link("/proc/self/exe").is_ok_and(|path| path.as_os_str().as_bytes() == module.path())
}

fn load(module: &Module) -> Option<Loader> {
    if is_program(module) {
        // Not by its path: there may be another program by now.
        return Loader::new("/proc/self/exe").ok();
    }
    // A library that was replaced says `(deleted)`, and is not found.
    Loader::new(Path::new(OsStr::from_bytes(module.path()))).ok()
}

/// By what the file says of the address `at`.
fn described(file: &Loader, at: u64) -> Vec<String> {
    let symbol = file.find_symbol(at).map(|name| addr2line::demangle_auto(Cow::Borrowed(name), None));
    let mut frames = Vec::new();
    if let Ok(mut found) = file.find_frames(at) {
        while let Ok(Some(frame)) = found.next() {
            let own = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let place = frame.location.and_then(|place| Some((place.file?, place.line?)));
            frames.push((own, place));
        }
    }
    let outermost = frames.len().saturating_sub(1);
    let mut found = Vec::new();
    for (number, (own, place)) in frames.into_iter().enumerate() {
        // Debug information may have names without their crates. The symbol has it, of the one that was not inlined.
        let symbol = symbol.as_deref().map(str::to_owned);
        let Some(name) = (if number == outermost { symbol.or(own) } else { own }) else { continue };
        found.push(match place {
            Some((file, line)) => format!("{} at {}:{line}", cut(&name), shorten(file)),
            None => cut(&name).into_owned(),
        });
    }
    if found.is_empty() {
        found.extend(symbol.map(|name| cut(&name).into_owned()));
    }
    found
}

/// A frame without a name.
fn place(frame: Frame, modules: &Modules) -> String {
    super::Place { frame, modules }.to_string()
}

fn cut(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => Cow::Owned(format!("{}..", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// A path without what is the same for all: where the standard library, or a package, was unpacked.
fn shorten(path: &str) -> &str {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_, file)| file);
    }
    match path.strip_prefix("/rustc/").and_then(|rest| rest.split_once("/library/")) {
        Some((_, file)) => file,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short() {
        for (path, short) in [
            ("/rustc/59807616e/library/std/src/thread/mod.rs", "std/src/thread/mod.rs"),
            (
                "/home/me/.cargo/registry/src/index.crates.io-1/tokio-1.54.1/src/lib.rs",
                "tokio-1.54.1/src/lib.rs",
            ),
            ("src/main.rs", "src/main.rs"),
            ("/home/me/app/src/main.rs", "/home/me/app/src/main.rs"),
        ] {
            assert_eq!(shorten(path), short);
        }
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("main"), "main");
        let long = "ä".repeat(LONGEST_NAME + 1);
        assert_eq!(cut(&long).chars().count(), LONGEST_NAME + 2);
    }

    #[test]
    fn the_name_of_a_function_is_found() {
        let mut modules = Modules::new();
        let at = shorten as *const () as u64;
        let module = modules.find(at);
        let named = Names::default().of(Frame { at, module }, &modules);
        assert!(named.last().unwrap().contains("dump::names::shorten"), "{named:?}");
        let nowhere = Names::default().of(Frame { at: 8, module: None }, &modules);
        assert_eq!(nowhere, ["0x8"]);
    }
}
