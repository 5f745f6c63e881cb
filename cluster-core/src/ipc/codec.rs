//! How values become bytes: the only file that names bincode.
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No encoded value is longer.
pub(crate) const MAX_ENCODED: usize = 32 * 1024;

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

/// Decodes exactly one value: bytes left over are an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<MAX_ENCODED>();
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|err| CodecError(err.to_string()))?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError(format!("{} bytes too many", bytes.len() - used)))
    }
}
