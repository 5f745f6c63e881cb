//! Random bytes that nobody can guess.
use nix::errno::Errno;
use nix::libc;

/// As many as there are; waits, early in the life of a machine, until the kernel has some (getrandom(2)).
pub(crate) fn bytes<const N: usize>() -> nix::Result<[u8; N]> {
    // So many at most come in one piece, whatever signals arrive.
    const { assert!(N <= 256) };
    let mut bytes = [0; N];
    loop {
        // SAFETY: the buffer is ours and valid for its length.
        let done = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
        match Errno::result(done) {
            Ok(count) if count as usize == N => return Ok(bytes),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(err) => return Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        let (one, other) = (super::bytes::<32>().unwrap(), super::bytes::<32>().unwrap());
        assert_ne!(one, other);
        assert_ne!(one, [0; 32]);
    }
}
