//! What a request needs and the next one needs again: heads, with the room that their texts took, and room for what is sent. Each thread
//! keeps a few, so that a request on its way allocates none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use crate::head::{Overlay, RequestHead, ResponseHead};

/// Kept of each kind by a thread: as many as requests are usually on their way.
const KEPT_MAX: usize = 128;
/// A head that took more room than this is not kept.
const ROOM_MAX: usize = 8 * 1024;

/// What is kept.
pub(crate) trait Recycle: Default + 'static {
    /// Forgets everything but its room; false where that is too much to keep.
    fn clear(&mut self) -> bool;

    /// Where a thread keeps those that nobody uses.
    fn stock() -> &'static LocalKey<RefCell<Vec<Box<Self>>>>;
}

/// One in use; it goes back to the stock when it is dropped.
pub(crate) struct Recycled<T: Recycle>(Option<Box<T>>);

impl<T: Recycle> Default for Recycled<T> {
    fn default() -> Self {
        let kept = T::stock().try_with(|stock| stock.borrow_mut().pop()).ok().flatten();
        Self(Some(kept.unwrap_or_default()))
    }
}

impl<T: Recycle> Drop for Recycled<T> {
    fn drop(&mut self) {
        let Some(mut used) = self.0.take() else { return };
        if !used.clear() {
            return;
        }
        // At the end of a thread there is no stock any more.
        let _gone = T::stock().try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < KEPT_MAX {
                stock.push(used);
            }
        });
    }
}

impl<T: Recycle> Deref for Recycled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("it is only taken out when it is dropped")
    }
}

impl<T: Recycle> DerefMut for Recycled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("it is only taken out when it is dropped")
    }
}

macro_rules! recycled {
    ($type:ty, $clear:expr) => {
        impl Recycle for $type {
            fn clear(&mut self) -> bool {
                let clear: fn(&mut Self) -> usize = $clear;
                clear(self) <= ROOM_MAX
            }

            fn stock() -> &'static LocalKey<RefCell<Vec<Box<Self>>>> {
                thread_local! {
                    static STOCK: RefCell<Vec<Box<$type>>> = const { RefCell::new(Vec::new()) };
                }
                &STOCK
            }
        }
    };
}

recycled!(RequestHead, |head| {
    head.version = Default::default();
    head.method = Default::default();
    head.form = Default::default();
    head.length = Default::default();
    head.protocol = None;
    head.authority.clear();
    head.path.clear();
    head.fields.clear();
    head.authority.capacity() + head.path.capacity() + head.fields.room()
});

recycled!(ResponseHead, |head| {
    head.version = Default::default();
    head.status = 0;
    head.length = Default::default();
    head.stated = None;
    head.fields.clear();
    head.fields.room()
});

recycled!(Overlay, |overlay| {
    overlay.path = None;
    overlay.without = Default::default();
    overlay.method = None;
    overlay.plus.clear();
    overlay.plus.room()
});

recycled!(Vec<u8>, |bytes| {
    bytes.clear();
    bytes.capacity()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_used_again_and_empty() {
        let mut first = Recycled::<RequestHead>::default();
        first.path.push_str("/a");
        first.fields.push(b"x", b"1");
        let at: *const RequestHead = &raw const *first;
        drop(first);
        let again = Recycled::<RequestHead>::default();
        assert!(std::ptr::eq(at, &raw const *again));
        assert!(again.path.is_empty() && again.fields.is_empty() && again.path.capacity() > 0);
        let mut large = Recycled::<ResponseHead>::default();
        large.fields.push(b"x", &[b'a'; 2 * ROOM_MAX]);
        drop(large);
        assert_eq!(Recycled::<ResponseHead>::default().fields.room(), 0);
    }
}
