//! A thread's functions, as far as they say something: what its runtime did to call the program is left out.
use crate::event::{is_own, waits_for_work};
use crate::trace::Text;

/// Of a thread that waits for work so many functions are shown.
const MOST_IDLE: usize = 1;

/// Writes the frames of one thread, one by one. The names may take so long that this process is killed meanwhile:
/// what is known to be wanted is written at once.
pub(super) struct Telling<'t, const ROOM: usize> {
    to: &'t Text<ROOM>,
    /// The number of the first that is not written, and those from there on.
    held_back: (usize, Vec<String>),
    has_own: bool,
    is_idle: bool,
}

impl<'t, const ROOM: usize> Telling<'t, ROOM> {
    pub(super) fn new(to: &'t Text<ROOM>) -> Self {
        Self { to, held_back: (0, Vec::new()), has_own: false, is_idle: false }
    }

    /// The next frame, from the innermost on.
    pub(super) fn tell(&mut self, frame: String) {
        self.is_idle |= !self.has_own && waits_for_work(&frame);
        // Below what waits for work may be the program's `main`.
        let is_own = !self.is_idle && is_own(&frame);
        self.has_own |= is_own;
        self.held_back.1.push(frame);
        // What it called is of interest, too.
        if is_own {
            self.write(usize::MAX);
        }
    }

    /// That was the outermost, or there are more that are not known.
    pub(super) fn finish(mut self, is_deeper: bool) {
        if !self.has_own {
            self.write(if self.is_idle { MOST_IDLE } else { usize::MAX });
        }
        let (number, left) = &self.held_back;
        match left.len() {
            0 if is_deeper => self.to.add(format_args!("{number:4}: .. and more")),
            0 => {}
            left if self.is_idle => {
                self.to
                    .add(format_args!("{number:4}: .. and {left} more of its runtime, which waits for work"));
            }
            left => self.to.add(format_args!("{number:4}: .. and {left} more of its runtime")),
        }
    }

    /// Writes what is held back, up to so many.
    fn write(&mut self, most: usize) {
        let (number, frames) = &mut self.held_back;
        let now = frames.len().min(most);
        for frame in frames.drain(..now) {
            self.to.add(format_args!("{number:4}: {frame}"));
            *number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Page;
    use crate::sys::page::Mapped;

    fn told(frames: &[&str], is_deeper: bool) -> Vec<String> {
        let page: Mapped<Page> = Mapped::create(c"test").unwrap().0;
        let mut telling = Telling::new(&page.trace.names);
        frames.iter().for_each(|frame| telling.tell((*frame).to_owned()));
        telling.finish(is_deeper);
        page.trace.finish();
        page.trace.lines()
    }

    #[test]
    fn what_lies_between_own_functions_is_told_and_what_is_below_is_not() {
        let frames = ["read in libc.so.6", "app::a", "std::b", "app::c", "tokio::d", "std::e"];
        let expected = ["   0: read in libc.so.6", "   1: app::a", "   2: std::b", "   3: app::c"];
        let told_all = told(&frames, false);
        assert_eq!(told_all[..4], expected);
        assert_eq!(told_all[4..], ["   4: .. and 2 more of its runtime"]);
        assert_eq!(told(&frames[..4], false), expected);
        assert_eq!(told(&frames[..4], true)[4..], ["   4: .. and more"]);
    }

    #[test]
    fn one_without_own_functions_is_told_whole_unless_it_waits_for_work() {
        let foreign = ["work in libpython3.so"; 40];
        assert_eq!(told(&foreign, false).len(), 40);
        let idle = ["syscall in libc.so.6", "tokio::runtime::park::Inner::park"];
        let idle: Vec<_> = idle.into_iter().chain(["std::x"; 38]).collect();
        let waits =
            ["   0: syscall in libc.so.6", "   1: .. and 39 more of its runtime, which waits for work"];
        assert_eq!(told(&idle, false), waits);
        assert_eq!(told(&[&idle[..38], &["app::main", "main"]].concat(), false), waits);
        assert_eq!(told(&[&["app::stuck"], &idle[..]].concat(), false)[0], "   0: app::stuck");
    }

    #[test]
    fn nothing_is_nothing() {
        assert!(told(&[], false).is_empty());
    }
}
