//! The programs and libraries that are mapped, and where their tables for unwinding are. Found without allocating.
use std::ops::{ControlFlow, Range};

use crate::dump::maps::{self, File, Mapping};
use crate::sys::memory::Region;

/// So many are remembered; the frames of others end a trace.
const MOST: usize = 24;
/// More of a path is not kept: a library with a longer one has no names.
const LONGEST_PATH: usize = 256;

/// A program or library, loaded.
#[derive(Clone)]
pub(super) struct Module {
    /// The code that an address was found in.
    text: Range<u64>,
    /// What is added to an address in its file.
    pub(super) bias: u64,
    /// Where its index for unwinding begins, and what is mapped there; none where it has none.
    pub(super) index: Option<(u64, Region)>,
    path: [u8; LONGEST_PATH],
    path_len: usize,
}

impl Module {
    /// Empty where it is too long.
    pub(super) fn path(&self) -> &[u8] {
        &self.path[..self.path_len]
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &[u8] {
        self.path().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// Those that have been met.
pub(super) struct Modules {
    known: [Option<Module>; MOST],
}

impl Modules {
    pub(super) fn new() -> Self {
        Self { known: [const { None }; MOST] }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Module> {
        self.known.get(number)?.as_ref()
    }

    /// The number of the one with this code.
    pub(super) fn find(&mut self, address: u64) -> Option<usize> {
        let known =
            |module: &Option<Module>| module.as_ref().is_some_and(|module| module.text.contains(&address));
        if let Some(number) = self.known.iter().position(known) {
            return Some(number);
        }
        let free = self.known.iter().position(Option::is_none)?;
        self.known[free] = look_up(address);
        self.known[free].is_some().then_some(free)
    }
}

fn look_up(address: u64) -> Option<Module> {
    let mut head: Option<(File, Region, u64)> = None;
    let mut found: Option<Module> = None;
    let see = |mapping: &Mapping<'_>| {
        if mapping.offset == 0
            && let Some(region) = mapping.region()
        {
            head = Some((mapping.file, region, mapping.start));
        }
        if !mapping.contains(address) {
            return ControlFlow::Continue(());
        }
        found = head.filter(|(file, ..)| mapping.executable && *file == mapping.file).and_then(
            |(_, region, start)| {
                let layout = Layout::read(region.bytes_from(start)?)?;
                Some(module(mapping, start.wrapping_sub(layout.base), layout.index))
            },
        );
        ControlFlow::Break(())
    };
    maps::for_each(see).ok()?;
    let mut module = found?;
    module.index = module.index.and_then(|(at, _)| Some((at, maps::region_of(at)?)));
    Some(module)
}

fn module(mapping: &Mapping<'_>, bias: u64, index: Option<u64>) -> Module {
    let mut path = [0; LONGEST_PATH];
    let path_len = if mapping.path.len() > LONGEST_PATH { 0 } else { mapping.path.len() };
    path[..path_len].copy_from_slice(&mapping.path[..path_len]);
    // What is mapped there is looked up when all is known: one list is read at a time.
    let nowhere = Region::listed(0, 0);
    Module {
        text: mapping.start..mapping.end,
        bias,
        index: index.map(|at| (bias.wrapping_add(at), nowhere)),
        path,
        path_len,
    }
}

/// What the headers of an ELF file say (elf(5)).
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// The address of its first byte.
    base: u64,
    /// That of its index for unwinding, `.eh_frame_hdr`.
    index: Option<u64>,
}

impl Layout {
    /// Of 64 bits, lowest byte first.
    fn read(image: &[u8]) -> Option<Self> {
        const PT_LOAD: u32 = 1;
        const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
        const PAGE: u64 = 4096;
        if image.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let headers = usize::try_from(word(image, 32)?).ok()?;
        let (size, count) = (usize::from(half(image, 54)?), usize::from(half(image, 56)?));
        let mut layout = Self { base: 0, index: None };
        for number in 0..count {
            let header = image.get(headers.checked_add(number * size)?..)?;
            let kind = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
            let (offset, address) = (word(header, 8)?, word(header, 16)?);
            match kind {
                PT_LOAD if offset < PAGE => layout.base = address - address % PAGE,
                PT_GNU_EH_FRAME => layout.index = Some(address),
                _ => {}
            }
        }
        Some(layout)
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_and_the_c_library_are_found_once() {
        let mut modules = Modules::new();
        let own = modules.find(look_up as *const () as u64).unwrap();
        assert_eq!(modules.find(half as *const () as u64), Some(own));
        let program = modules.get(own).unwrap().clone();
        assert_eq!(program.path(), std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
        assert!(program.path().ends_with(program.name()) && !program.name().contains(&b'/'));
        let (at, region) = program.index.expect("Rust writes unwind tables");
        assert_eq!(region.bytes_from(at).unwrap()[0], 1, "the version of .eh_frame_hdr");
        assert_eq!(modules.find(8), None);
    }

    #[test]
    fn headers_that_are_none_are_not_read() {
        let image = std::fs::read("/proc/self/exe").unwrap();
        assert!(Layout::read(&image).unwrap().index.is_some());
        assert_eq!(Layout::read(&image[..63]), None, "cut off");
        assert_eq!(Layout::read(b"\x7fELF\x01\x01"), None, "of 32 bits");
        let mut wrong = image[..4096].to_vec();
        wrong[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Layout::read(&wrong), None);
    }
}
