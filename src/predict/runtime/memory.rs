//! What ONNX Runtime may take of memory, a thread at a time.
//!
//! A graph decides itself how large its tensors become: a single operator makes gigabytes of one row. The library
//! has a bound for an arena that all sessions share, where one model would starve the others, and none for a
//! session. So it is given an allocator that counts: a thread has a budget for the run, or the load, that it is
//! in, and what would pass it fails as on a machine without memory: an error of that run, and of no other.
//!
//! Not counted is what the library does not take as tensors: texts, the graph itself, and constants that it folds
//! while it loads (their size is bounded by a setting of the session).

use libloading::os::unix::{Library, RTLD_LAZY};
use ort::AsPointer;
use ort::environment::Environment;
use ort::sys::{OrtAllocator, OrtAllocatorType, OrtMemType, OrtMemoryInfo, OrtStatusPtr};
use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::OnceLock;

/// In front of a block, which is aligned to as much: what vector instructions like best.
const HEADER: usize = 64;
/// Behind a block: the library's matrix kernels read, and never write, a little beyond its end.
const TAIL: usize = 64;

/// What a thread may take.
#[derive(Clone, Copy)]
struct Budget {
    limit: usize,
    left: usize,
    refused: Option<usize>,
}

impl Budget {
    const fn of(limit: usize) -> Self {
        Self { limit, left: limit, refused: None }
    }
}

thread_local! {
    /// Of plain data, so that it is there until the thread is gone.
    static BUDGET: Cell<Budget> = const { Cell::new(Budget::of(usize::MAX)) };
}

/// What became of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::predict) struct Spent {
    /// What was taken and not given back, in bytes.
    pub kept_bytes: usize,
    /// The size of what was asked for beyond the budget, where something was, in bytes.
    pub refused_bytes: Option<usize>,
}

/// Does `work`, during which ONNX Runtime may take `limit_bytes` at a time on this thread.
pub(in crate::predict) fn within<T>(limit_bytes: usize, work: impl FnOnce() -> T) -> (T, Spent) {
    /// Puts the budget back that was there, after a panic as well.
    struct Outer(Budget);
    impl Drop for Outer {
        fn drop(&mut self) {
            BUDGET.set(self.0);
        }
    }
    let _outer = Outer(BUDGET.replace(Budget::of(limit_bytes)));
    let done = work();
    let Budget { limit, left, refused } = BUDGET.get();
    (done, Spent { kept_bytes: limit - left, refused_bytes: refused })
}

/// An allocator as the library wants it, with what it is asked about itself.
#[repr(C)]
struct Counting {
    /// The first field: a pointer to it is one to all of it.
    base: OrtAllocator,
    info: *mut OrtMemoryInfo,
}

type New = unsafe extern "C-unwind" fn(usize) -> *mut c_void;

/// What [`allocate`] is, and what the library's interface says of it.
type Throwing = unsafe extern "C-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void;
type Alloc = unsafe extern "system" fn(*mut OrtAllocator, usize) -> *mut c_void;

/// C++'s `operator new`, which is what throws `std::bad_alloc`.
static NEW: OnceLock<New> = OnceLock::new();

/// Has every session of `environment` that asks for it take its tensors from here.
///
/// # Errors
/// Why that cannot be; sessions use the library's own allocator then.
pub(super) fn register(environment: &Environment) -> Result<(), String> {
    let new = operator_new().ok_or("the C++ library that ONNX Runtime uses is not found")?;
    NEW.get_or_init(|| new);
    let mut info = null_mut();
    let (kind, place) = (OrtAllocatorType::OrtDeviceAllocator, OrtMemType::OrtMemTypeDefault);
    // SAFETY: it writes a pointer to what it makes, which is never released: the allocator lives as long.
    let made = unsafe { (ort::api().CreateCpuMemoryInfo)(kind, place, &raw mut info) };
    succeeded(made)?;
    // SAFETY: pointers to functions of the same arguments. The library calls them from C++, which is prepared for
    // exceptions wherever it allocates; Rust never calls them by this type, which does not speak of unwinding.
    let alloc = unsafe { std::mem::transmute::<Throwing, Alloc>(allocate) };
    let base = OrtAllocator {
        version: ort::sys::ORT_API_VERSION,
        Alloc: Some(alloc),
        Free: Some(give_back),
        Info: Some(describe),
        // Optional: weights are taken as everything else.
        Reserve: None,
    };
    let allocator: *mut Counting = Box::leak(Box::new(Counting { base, info }));
    // SAFETY: the environment is alive, and the allocator from now on as well.
    succeeded(unsafe { (ort::api().RegisterAllocator)(environment.ptr().cast_mut(), allocator.cast()) })
}

fn succeeded(status: OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() { Ok(()) } else { Err("ONNX Runtime takes no allocator".to_owned()) }
}

fn operator_new() -> Option<New> {
    ["libstdc++.so.6", "libc++.1.dylib"].into_iter().find_map(|name| {
        // SAFETY: ONNX Runtime is linked with it: it is in memory, and initialised, already.
        let library = unsafe { Library::open(Some(name), RTLD_LAZY) }.ok()?;
        // SAFETY: the mangled name says which function it is.
        let new = unsafe { library.get::<New>(c"_Znwm") }.ok().map(|symbol| *symbol);
        // It stays.
        std::mem::forget(library);
        new
    })
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER + TAIL)?, HEADER).ok()
}

/// A block of `size` bytes, `null` where there is none.
fn take(size: usize) -> *mut u8 {
    let Some(layout) = layout(size) else { return null_mut() };
    // SAFETY: the layout is not empty; the header has room for a `usize`, and is aligned for it.
    unsafe {
        let start = std::alloc::alloc(layout);
        if start.is_null() {
            return start;
        }
        start.cast::<usize>().write(size);
        start.add(HEADER)
    }
}

/// ONNX Runtime's kernels write to what they are given without a look: a null pointer would end the process. What
/// they expect where there is no memory is what C++ does then.
unsafe extern "C-unwind" fn allocate(_: *mut OrtAllocator, size: usize) -> *mut c_void {
    let budget = BUDGET.get();
    if size == 0 {
        return null_mut();
    }
    if let Some(left) = budget.left.checked_sub(size) {
        let block = take(size);
        if !block.is_null() {
            BUDGET.set(Budget { left, ..budget });
            return block.cast();
        }
    }
    BUDGET.set(Budget { refused: Some(size), ..budget });
    match NEW.get() {
        // SAFETY: no memory is as large, so it throws, through this frame, which has nothing to drop.
        Some(new) => unsafe { new(usize::MAX) },
        None => null_mut(),
    }
}

unsafe extern "system" fn give_back(_: *mut OrtAllocator, block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: it came from `take`: its size stands in front of it.
    unsafe {
        let start = block.cast::<u8>().sub(HEADER);
        let size = start.cast::<usize>().read();
        if let Some(layout) = layout(size) {
            std::alloc::dealloc(start, layout);
        }
        let budget = BUDGET.get();
        // What was taken under another budget does not make this one larger.
        BUDGET.set(Budget { left: budget.left.saturating_add(size).min(budget.limit), ..budget });
    }
}

unsafe extern "system" fn describe(this: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: it is the one that was registered.
    unsafe { (*this.cast::<Counting>()).info }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_given_back_is_counted_on_its_thread() {
        let take = |size| unsafe { allocate(null_mut(), size) };
        let give_back = |block| unsafe { give_back(null_mut(), block) };
        let before = take(50);
        let (block, spent) = within(1000, || {
            let (kept, passing) = (take(600), take(400));
            assert!(!kept.is_null() && (kept as usize).is_multiple_of(HEADER));
            // Full. Outside of ONNX Runtime nothing may be thrown, and nothing is: `NEW` may be set by another test.
            assert_eq!(BUDGET.get().left, 0);
            give_back(passing);
            give_back(before);
            assert_eq!(BUDGET.get().left, 450);
            let (inner, spent) = within(10, || take(10));
            assert_eq!(spent, Spent { kept_bytes: 10, refused_bytes: None });
            give_back(inner);
            kept
        });
        assert_eq!(spent.refused_bytes, None);
        assert!(spent.kept_bytes <= 600);
        give_back(block);
        assert!(take(0).is_null());
        assert!(layout(usize::MAX).is_none() && super::take(usize::MAX / 2).is_null());
    }
}
