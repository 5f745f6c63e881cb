//! What HTTP/2 says on a connection, as far as a drain has to know it, and a drain's words in it: GOAWAY.
//!
//! actix-http says none, and has no way to be told to. But a frame may be said between any two others (RFC 9113, 4.1 and
//! 6.8), so it is said for it. Here is no socket: bytes come in, and bytes are asked for.
use std::collections::VecDeque;

/// With so many bytes a client begins, which are no frame.
const PREFACE: usize = 24;
const HEAD: usize = 9;

// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// No stream has a higher number: all that is under way is served yet.
const ALL_STREAMS: u32 = u32::MAX >> 1;

/// What is known of the frames on a connection.
#[derive(Debug)]
pub(super) struct Frames {
    incoming: Heads,
    outgoing: Heads,
    /// Frames were sent: the first has to be the server's SETTINGS.
    has_begun: bool,
    /// The head of an answer is in several frames, which must follow each other (RFC 9113, 6.10), and the last is yet to come.
    is_in_head: bool,
    /// Streams whose answers have not left to their end, in the order in which they were opened: that of their numbers (RFC
    /// 9113, 5.1.1).
    open: VecDeque<u32>,
    /// The highest of the client's.
    highest: u32,
    farewell: Farewell,
    word: [u8; HEAD + 8],
    /// How much of `word` is to be said yet.
    left: usize,
}

/// How far the farewell has come. It only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Farewell {
    NotAsked,
    /// The client shall be told to open no more streams.
    Asked,
    Announced,
    /// It shall be told which of its streams were served: the connection closes.
    Due,
    Over,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            incoming: Heads { skip: PREFACE, ..Heads::default() },
            outgoing: Heads::default(),
            has_begun: false,
            is_in_head: false,
            open: VecDeque::new(),
            highest: 0,
            farewell: Farewell::NotAsked,
            word: [0; HEAD + 8],
            left: 0,
        }
    }
}

impl Frames {
    /// The client has sent this.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        let Self { incoming, open, highest, .. } = self;
        incoming.pass(bytes, |head| match head.kind {
            // Trailers are of a stream that is known.
            HEADERS if head.stream > *highest => {
                *highest = head.stream;
                open.push_back(head.stream);
            }
            RST_STREAM => close(open, head.stream),
            _ => {}
        });
    }

    /// The server has sent this.
    pub(super) fn went(&mut self, bytes: &[u8]) {
        let Self { outgoing, open, has_begun, is_in_head, .. } = self;
        outgoing.pass(bytes, |head| {
            *has_begun = true;
            if matches!(head.kind, HEADERS | CONTINUATION) {
                *is_in_head = head.flags & END_HEADERS == 0;
            }
            let ends = matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0;
            if ends || head.kind == RST_STREAM {
                close(open, head.stream);
            }
        });
    }

    /// Asks the client to open no more streams; those that it opens meanwhile are served.
    pub(super) fn announce(&mut self) {
        self.farewell = self.farewell.max(Farewell::Asked);
    }

    /// Tells the client that the connection closes, if all that it asked is answered.
    pub(super) fn dismiss(&mut self) {
        if self.open.is_empty() {
            self.farewell = self.farewell.max(Farewell::Due);
        }
    }

    /// Whether that is told: nothing more is to be said.
    pub(super) fn is_over(&self) -> bool {
        self.has_parted() && self.left == 0
    }

    /// Whether it is settled which streams were served. A client may ask for later ones elsewhere, so none of those may
    /// reach the application here.
    pub(super) fn has_parted(&self) -> bool {
        self.farewell == Farewell::Over
    }

    /// What is to be written BEFORE anything else, if there is something.
    pub(super) fn word(&mut self) -> Option<&[u8]> {
        if self.left == 0 && self.has_begun && !self.is_in_head && self.outgoing.is_between() {
            let (last, next) = match self.farewell {
                Farewell::Asked => (ALL_STREAMS, Farewell::Announced),
                // A stream that was opened since is answered first: the client is about to hear that it was served.
                Farewell::Due if self.open.is_empty() => (self.highest, Farewell::Over),
                Farewell::NotAsked | Farewell::Announced | Farewell::Due | Farewell::Over => return None,
            };
            self.farewell = next;
            self.word = goaway(last);
            self.left = self.word.len();
        }
        let rest = &self.word[self.word.len() - self.left..];
        if rest.is_empty() { None } else { Some(rest) }
    }

    /// So much of that is written.
    pub(super) fn said(&mut self, bytes: usize) {
        self.left -= bytes;
    }
}

fn close(open: &mut VecDeque<u32>, stream: u32) {
    if let Ok(at) = open.binary_search(&stream) {
        open.remove(at);
    }
}

/// GOAWAY with the highest stream that is, or may be, served. It is no error.
fn goaway(last: u32) -> [u8; HEAD + 8] {
    let mut frame = [0; HEAD + 8];
    frame[2] = 8;
    frame[3] = GOAWAY;
    frame[HEAD..HEAD + 4].copy_from_slice(&last.to_be_bytes());
    frame
}

/// What a frame begins with.
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the heads of frames in bytes that come in pieces.
#[derive(Debug, Default)]
struct Heads {
    head: [u8; HEAD],
    have: usize,
    /// So many bytes that come next are no head.
    skip: usize,
}

impl Heads {
    fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.have == 0
                && let Some((head, rest)) = bytes.split_first_chunk()
            {
                bytes = rest;
                self.begin(head, &mut seen);
                continue;
            }
            let new = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + new].copy_from_slice(&bytes[..new]);
            self.have += new;
            bytes = &bytes[new..];
            if self.have == HEAD {
                self.have = 0;
                let head = self.head;
                self.begin(&head, &mut seen);
            }
        }
    }

    /// A frame begins.
    fn begin(&mut self, head: &[u8; HEAD], seen: &mut impl FnMut(Head)) {
        let [a, b, c, kind, flags, stream @ ..] = *head;
        seen(Head { kind, flags, stream: u32::from_be_bytes(stream) & ALL_STREAMS });
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
    }

    /// Whether one frame is over, and the next has not begun.
    fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    const SETTINGS: u8 = 4;

    /// A connection on which streams 1 and 3 were opened and SETTINGS went out.
    fn begun() -> Frames {
        let mut frames = Frames::default();
        let mut came = vec![b'x'; PREFACE];
        came.extend(frame(SETTINGS, 0, 0, &[1; 6]));
        came.extend(frame(HEADERS, 5, 1, b"headers"));
        came.extend(frame(HEADERS, 4, 3, b"headers"));
        // In pieces of any size.
        came.chunks(5).for_each(|piece| frames.came(piece));
        frames.went(&frame(SETTINGS, 0, 0, &[]));
        frames
    }

    fn say(frames: &mut Frames) -> Option<Vec<u8>> {
        let word = frames.word()?.to_vec();
        frames.said(word.len());
        Some(word)
    }

    #[test]
    fn a_client_is_told_to_leave_and_then_which_streams_were_served() {
        let mut frames = begun();
        assert_eq!(frames.word(), None);
        frames.announce();
        assert_eq!(say(&mut frames), Some(frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])));
        frames.announce();
        assert_eq!(say(&mut frames), None);
        // Stream 1 ends with its body, stream 3 is open yet; trailers open none.
        frames.went(&frame(HEADERS, 4, 1, b"200"));
        frames.went(&frame(DATA, 1, 1, b"body"));
        frames.came(&frame(HEADERS, 5, 3, b"trailers"));
        frames.dismiss();
        assert_eq!(say(&mut frames), None);
        frames.came(&frame(RST_STREAM, 0, 3, &[0; 4]));
        frames.dismiss();
        assert!(!frames.is_over());
        assert_eq!(say(&mut frames), Some(frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])));
        assert!(frames.is_over());
    }

    #[test]
    fn nothing_is_said_before_the_settings_nor_within_a_frame() {
        let mut frames = Frames::default();
        frames.announce();
        assert_eq!(frames.word(), None);
        frames.went(&frame(SETTINGS, 0, 0, &[]));
        let data = frame(DATA, 0, 1, b"some bytes");
        frames.went(&data[..12]);
        assert_eq!(frames.word(), None);
        frames.went(&data[12..]);
        assert!(frames.word().is_some());
    }

    #[test]
    fn nothing_is_said_within_a_head_that_takes_several_frames() {
        let mut frames = begun();
        frames.announce();
        for kind in [HEADERS, CONTINUATION] {
            frames.went(&frame(kind, 0, 1, b"a part"));
            assert_eq!(frames.word(), None, "the client would call it a PROTOCOL_ERROR");
        }
        frames.went(&frame(CONTINUATION, END_HEADERS, 1, b"the rest"));
        assert!(frames.word().is_some());
    }

    #[test]
    fn a_stream_that_is_opened_before_the_last_word_is_answered_first() {
        let mut frames = begun();
        frames.came(&frame(RST_STREAM, 0, 3, &[0; 4]));
        // The last frame of an answer is under way: its client reads slowly.
        let last = frame(DATA, 1, 1, b"body");
        frames.went(&last[..HEAD + 1]);
        frames.dismiss();
        assert_eq!(frames.word(), None);
        frames.came(&frame(HEADERS, 5, 5, b"headers"));
        frames.went(&last[HEAD + 1..]);
        assert_eq!(frames.word(), None, "it would say that 5 was served");
        frames.went(&frame(HEADERS, 5, 5, b"204"));
        assert_eq!(say(&mut frames), Some(frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0])));
        assert!(frames.has_parted());
    }

    #[test]
    fn a_word_that_was_written_in_part_goes_on_first() {
        let mut frames = begun();
        frames.announce();
        let all = frames.word().unwrap().to_vec();
        frames.said(4);
        assert_eq!(frames.word(), Some(&all[4..]));
        frames.said(13);
        assert_eq!(frames.word(), None);
    }

    #[test]
    fn an_answer_that_is_all_head_ends_its_stream_and_so_does_a_refusal() {
        let mut frames = begun();
        frames.went(&frame(HEADERS, 5, 1, b"204"));
        frames.went(&frame(RST_STREAM, 0, 3, &[0; 4]));
        frames.dismiss();
        assert!(frames.word().is_some());
    }
}
