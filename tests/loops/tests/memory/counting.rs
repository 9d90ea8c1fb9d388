//! The system's allocator, and how much of it is in use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated.
pub struct Counting;

/// Bytes in use.
pub fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// What an allocation takes of an allocator with classes of sizes, about.
fn cost(layout: Layout) -> usize {
    layout.size().next_multiple_of(16)
}

// SAFETY: everything is the system allocator's; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(cost(layout), Ordering::Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(cost(layout), Ordering::Relaxed);
        // SAFETY: it was allocated by `alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
