//! Long texts: copied and looked through in one go.
use std::str::Utf8Error;

/// So much is looked through and then copied, while the processor still has it at hand.
pub(crate) const PIECE: usize = 64 << 10;

/// The text that these bytes are, copied.
///
/// # Errors
/// They are no UTF-8.
pub(crate) fn copy(bytes: &[u8]) -> Result<String, Utf8Error> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, last) = match rest.get(..PIECE) {
            Some(piece) => (piece, piece.len() == rest.len()),
            None => (rest, true),
        };
        let known = whole(piece, last)?;
        text.push_str(known);
        rest = &rest[known.len()..];
    }
    Ok(text)
}

/// The whole characters of a piece, which may end in the midst of one where it is not the last.
fn whole(piece: &[u8], last: bool) -> Result<&str, Utf8Error> {
    match std::str::from_utf8(piece) {
        Ok(known) => Ok(known),
        Err(err) if !last && err.error_len().is_none() => std::str::from_utf8(&piece[..err.valid_up_to()]),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_all_lengths_stay_what_they_are_wherever_a_piece_ends() {
        for unit in ["x", "ä", "€", "🦀", "aä€🦀"] {
            for shift in 0..4 {
                for units in [0, 1, PIECE / unit.len(), PIECE, 3 * PIECE] {
                    let text = "y".repeat(shift) + &unit.repeat(units);
                    assert_eq!(copy(text.as_bytes()).as_deref(), Ok(text.as_str()), "{units} x {unit}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_text_is_an_error_wherever_it_is() {
        for at in [0, PIECE - 1, PIECE, 2 * PIECE - 1] {
            for bad in [&b"\xff"[..], b"\xc3x", b"\xe2\x82x", b"\xed\xa0\x80"] {
                let mut bytes = vec![b'x'; 2 * PIECE];
                bytes.splice(at..at + 1, bad.iter().copied());
                assert!(copy(&bytes).is_err(), "{bad:?} at {at}");
            }
        }
    }

    #[test]
    fn a_text_that_ends_in_the_midst_of_a_character_is_an_error() {
        for len in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let mut bytes = vec![b'x'; len];
            bytes[len - 1] = 0xc3;
            assert!(copy(&bytes).is_err(), "{len}");
        }
    }
}
