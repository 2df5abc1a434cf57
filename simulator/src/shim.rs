//! Replaces the C library's `getrandom`, so that hash maps, `select!` and `rand` draw from the seed inside a simulation.
//!
//! Outside of a seeded thread the call goes to the kernel as ever. Called by `Simulation::run`.

#![allow(unsafe_code, reason = "a symbol of the C library can be replaced in no other way")]

use std::cell::Cell;
use std::ffi::{c_long, c_uint, c_void};
use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
const SYS_GETRANDOM: c_long = 318;
/// The number of the generic table, which arm64 and riscv64 share.
#[cfg(not(target_arch = "x86_64"))]
const SYS_GETRANDOM: c_long = 278;

thread_local! {
    /// Where this thread's stream stands; none outside of a simulation. It needs no destructor, so it can be read at any time.
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the operating system's randomness in this thread is a stream of this seed.
pub fn seed_this_thread(seed: u64) {
    // Names the replacement, so that the linker takes it along with this function.
    black_box(getrandom as unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize);
    STREAM.set(Some(seed));
}

/// What the C library documents for `getrandom(2)`.
///
/// # Safety
/// `buffer` must be writable for `len` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    let Ok(Some(mut stream)) = STREAM.try_with(Cell::get) else {
        // SAFETY: the arguments are the caller's, who promises what the kernel asks for.
        return unsafe { syscall(SYS_GETRANDOM, buffer, len, flags) as isize };
    };
    if len == 0 {
        return 0;
    }
    // SAFETY: the caller promises `len` writable bytes; bytes have no invalid values and any alignment.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    for chunk in bytes.chunks_mut(size_of::<u64>()) {
        chunk.copy_from_slice(&next(&mut stream).to_le_bytes()[..chunk.len()]);
    }
    STREAM.set(Some(stream));
    isize::try_from(len).unwrap_or(isize::MAX)
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn next(stream: &mut u64) -> u64 {
    *stream = stream.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*stream ^ (*stream >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::thread;

    use weft_env::Random;

    use super::*;

    fn drawn(seed: Option<u64>) -> (u64, u64) {
        let draw = move || {
            if let Some(seed) = seed {
                seed_this_thread(seed);
            }
            (RandomState::new().hash_one(1), Random::machine().next_u64())
        };
        thread::spawn(draw).join().unwrap()
    }

    #[test]
    fn hash_maps_and_rand_follow_the_seed_of_their_thread() {
        let (hash, number) = drawn(Some(7));
        assert_eq!((hash, number), drawn(Some(7)));
        let (other_hash, other_number) = drawn(Some(8));
        assert_ne!(hash, other_hash);
        assert_ne!(number, other_number);
    }

    #[test]
    fn a_thread_without_a_seed_asks_the_kernel() {
        let (first, second) = (drawn(None), drawn(None));
        assert_ne!(first.0, second.0);
        assert_ne!(first.1, second.1);
    }
}
