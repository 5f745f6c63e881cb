//! How values become bytes: the only file that names bincode.
use std::io;
use std::marker::PhantomData;

use bincode::error::{DecodeError, EncodeError as BincodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ipc::frugal::{Bounds, Frugal};
use crate::ipc::guard::Guarded;
use crate::ipc::message::Message;

/// No encoded value of the control protocol is longer.
pub(crate) const MAX_ENCODED: usize = 32 * 1024;
/// No encoded message is longer, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Bytes that are no value of the type, or a value that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(String);

/// Encodes into `buf` without allocating; answers with the part that was filled.
pub(crate) fn encode<'b, T: Serialize>(value: &T, buf: &'b mut [u8]) -> Result<&'b [u8], CodecError> {
    let len = bincode::serde::encode_into_slice(value, buf, bincode::config::standard())
        .map_err(|err| CodecError(err.to_string()))?;
    Ok(&buf[..len])
}

/// Encodes after what is in `into`; on an error that is all that is in there.
pub(crate) fn append<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = into.len();
    let written = bincode::serde::encode_into_std_write(value, into, bincode::config::standard());
    let fits = written.map_err(|err| CodecError(err.to_string())).and_then(|len| match len {
        ..=MAX_ENCODED => Ok(()),
        len => Err(CodecError(format!("{len} bytes are more than {MAX_ENCODED}"))),
    });
    fits.inspect_err(|_| into.truncate(before))
}

/// Decodes exactly one value: bytes left over are an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<MAX_ENCODED>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config).map_err(describe)?;
    exactly(value, used, bytes)
}

/// Why a message has no bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// It is longer than [`MAX_MESSAGE`].
    #[error("it has more than {} MiB when encoded", MAX_MESSAGE >> 20)]
    TooLong {
        /// With what was refused.
        size: usize,
    },
    /// Its `Serialize` failed, or does what the codec cannot.
    #[error("{0}")]
    Refused(String),
    /// Where it was written to did not take it.
    #[error(transparent)]
    Io(io::Error),
}

/// Encodes a message after what is in `into`; on an error, that is all that is in there.
#[cfg(any(test, fuzzing))]
pub(crate) fn encode_message<T: Message>(value: &T, into: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = into.len();
    encode_message_to(value, &mut *into).map(drop).inspect_err(|_| into.truncate(start))
}

/// Encodes a message into a writer, in as many small pieces as it has parts: it should have a buffer. Answers
/// with the number of bytes. On an error, a part may have been written.
pub(crate) fn encode_message_to<T: Message, W: io::Write>(value: &T, into: W) -> Result<usize, EncodeError> {
    let mut writer = Bounded { into, written: 0 };
    match bincode::serde::encode_into_writer(Guarded(value), &mut writer, bincode::config::standard()) {
        Ok(()) => Ok(writer.written),
        Err(_) if writer.written > MAX_MESSAGE => Err(EncodeError::TooLong { size: writer.written }),
        Err(BincodeError::Io { inner, .. }) => Err(EncodeError::Io(inner)),
        Err(BincodeError::OtherString(why)) => Err(EncodeError::Refused(why)),
        Err(err) => Err(EncodeError::Refused(err.to_string())),
    }
}

/// Writes no more than a message may have.
struct Bounded<W> {
    into: W,
    /// Over [`MAX_MESSAGE`] after the write that was refused.
    written: usize,
}

impl<W: io::Write> bincode::enc::write::Writer for Bounded<W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeError> {
        self.written += bytes.len();
        if self.written > MAX_MESSAGE {
            return Err(BincodeError::UnexpectedEnd);
        }
        self.into
            .write_all(bytes)
            .map_err(|inner| BincodeError::Io { inner, index: self.written - bytes.len() })
    }
}

/// Decodes exactly one message: bytes left over are an error.
///
/// bincode's own limit is not used: it counts a number as if it had its full width, so a message of many small
/// ones would be refused; and a text as long as the limit would get its room before its bytes are looked for.
pub(crate) fn decode_message<T: Message>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(CodecError(format!("more than {} MiB", MAX_MESSAGE >> 20)));
    }
    let bounds = Bounds::new();
    let seed = Frugal { inner: PhantomData::<T>, bounds: &bounds };
    let (value, used) =
        bincode::serde::seed_decode_from_slice(seed, bytes, bincode::config::standard()).map_err(describe)?;
    exactly(value, used, bytes)
}

fn exactly<T>(value: T, used: usize, bytes: &[u8]) -> Result<T, CodecError> {
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError(format!("{} bytes too many", bytes.len() - used)))
    }
}

/// What serde's errors say, without what bincode puts around it.
fn describe(err: DecodeError) -> CodecError {
    CodecError(match err {
        DecodeError::OtherString(why) => why,
        err => err.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ipc::message::Json;

    #[test]
    fn a_message_is_put_after_what_is_there_and_taken_back_on_an_error() {
        #[derive(Serialize, serde::Deserialize)]
        struct Fails {
            first: Vec<u8>,
            #[serde(serialize_with = "fail")]
            second: u8,
        }
        fn fail<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it will not"))
        }
        let mut into = b"header".to_vec();
        let err = encode_message(&Fails { first: vec![1; 100], second: 2 }, &mut into).unwrap_err();
        assert_eq!((into.as_slice(), err.to_string().as_str()), (&b"header"[..], "it will not"));
        encode_message(&(1_u8, true), &mut into).unwrap();
        assert_eq!(into, b"header\x01\x01");
    }

    #[test]
    fn a_writer_gets_the_same_bytes_and_its_error_is_told() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let value = (vec!["text".to_owned(); 3], Some(1_u64));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        encode_message(&value, &mut one).unwrap();
        assert_eq!(encode_message_to(&value, &mut two).unwrap(), one.len());
        assert_eq!(one, two);
        let err = encode_message_to(&value, Full).unwrap_err();
        assert!(matches!(&err, EncodeError::Io(err) if err.kind() == io::ErrorKind::StorageFull), "{err:?}");
    }

    #[test]
    fn a_message_has_at_most_64_mib() {
        let header = 5;
        let mut into = Vec::new();
        let longest = "x".repeat(MAX_MESSAGE - header);
        encode_message(&longest, &mut into).unwrap();
        assert_eq!(into.len(), MAX_MESSAGE);
        assert_eq!(decode_message::<String>(&into).unwrap(), longest);
        into.truncate(3);
        let err = encode_message(&(longest + "x"), &mut into).unwrap_err();
        assert!(matches!(err, EncodeError::TooLong { .. }) && into.len() == 3, "{err}");
        assert_eq!(err.to_string(), "it has more than 64 MiB when encoded");
    }

    #[test]
    fn a_message_of_many_small_numbers_is_not_too_long() {
        let numbers = vec![1_u64; 9 << 20];
        let mut bytes = Vec::new();
        encode_message(&numbers, &mut bytes).unwrap();
        assert_eq!(decode_message::<Vec<u64>>(&bytes).unwrap(), numbers, "72 MiB in memory, 9 as a message");
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        /// What bincode writes for a length of 2^63.
        const HUGE: &[u8] = &[253, 0, 0, 0, 0, 0, 0, 0, 128, 1, 2];
        fn refused<T: Message>(bytes: &[u8]) {
            assert!(decode_message::<T>(bytes).is_err(), "{}", std::any::type_name::<T>());
        }
        refused::<String>(HUGE);
        refused::<Vec<u8>>(HUGE);
        refused::<Vec<(u64, String)>>(HUGE);
        refused::<HashMap<String, String>>(HUGE);
        refused::<Json<u8>>(HUGE);
        refused::<std::ffi::CString>(HUGE);
        refused::<u8>(&[]);
        refused::<u8>(&[1, 2]);
        refused::<bool>(&[2]);
        refused::<char>(&[255]);
        refused::<String>(&[2, 0xff, 0xff]);
        refused::<Option<u8>>(&[7]);
        refused::<Result<u8, u8>>(&[7, 1]);
        refused::<std::num::NonZeroU8>(&[0]);
    }

    #[test]
    fn a_longer_message_is_not_even_looked_at() {
        let err = decode_message::<Vec<u8>>(&vec![0; MAX_MESSAGE + 1]).unwrap_err();
        assert_eq!(err.to_string(), "more than 64 MiB");
    }
}
