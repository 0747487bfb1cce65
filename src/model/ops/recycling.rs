//! Memory of tensors that a pass on the CPU is done with, for those that come after them.
//!
//! The activations of a layer take megabytes each, and are of the same sizes in the next one. Memory that is
//! freed in between goes back to the system, which clears it anew, page by page: a fifth of the time of a tower
//! of pictures in bf16.

use std::cell::RefCell;
use std::marker::PhantomData;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

/// Fewer values than these are not worth it.
const SMALLEST: usize = 1 << 14;

thread_local! {
    static SPARE: RefCell<Option<Vec<Vec<f32>>>> = const { RefCell::new(None) };
}

/// While it lives, the thread keeps what is given to [`recycle`].
pub(in crate::model) struct Recycling {
    is_outermost: bool,
    _of_this_thread: PhantomData<*const ()>,
}

impl Recycling {
    pub(in crate::model) fn begin() -> Self {
        let is_outermost = SPARE.with_borrow_mut(|spare| {
            let was_off = spare.is_none();
            spare.get_or_insert_default();
            was_off
        });
        Self { is_outermost, _of_this_thread: PhantomData }
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        if self.is_outermost {
            SPARE.take();
        }
    }
}

/// `len` values that are all to be written: they are whatever they are.
pub(super) fn buffer(len: usize) -> Vec<f32> {
    let fitting = SPARE.with_borrow_mut(|spare| {
        let spare = spare.as_mut()?;
        let fitting = (0..spare.len()).filter(|&i| spare[i].len() >= len && len >= SMALLEST);
        fitting.min_by_key(|&i| spare[i].len()).map(|i| spare.swap_remove(i))
    });
    match fitting {
        Some(mut values) => {
            values.truncate(len);
            values
        }
        None => vec![0.0; len],
    }
}

/// Takes `tensor` for good, with everything that shares its memory: nobody may look at it again.
pub(in crate::model) fn recycle(tensor: Tensor) -> Result<()> {
    let is_on = SPARE.with_borrow(|spare| spare.is_some());
    if is_on && tensor.device().is_cpu() && !tensor.track_op() { tensor.inplace_op1(&Take) } else { Ok(()) }
}

struct Take;

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "take-memory"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        if let CpuStorage::F32(values) = storage
            && values.len() >= SMALLEST
        {
            let values = std::mem::take(values);
            SPARE.with_borrow_mut(|spare| spare.as_mut().map(|spare| spare.push(values)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn tensor(len: usize) -> Tensor {
        Tensor::from_vec(vec![1f32; len], len, &Device::Cpu).unwrap()
    }

    fn kept() -> Option<usize> {
        SPARE.with_borrow(|spare| spare.as_ref().map(Vec::len))
    }

    #[test]
    fn what_is_recycled_serves_again_until_the_outermost_ends() {
        recycle(tensor(SMALLEST)).unwrap();
        assert_eq!((kept(), buffer(SMALLEST)[0]), (None, 0.0));
        let outer = Recycling::begin();
        drop(Recycling::begin());
        for len in [3 * SMALLEST, 2 * SMALLEST, 10] {
            recycle(tensor(len)).unwrap();
        }
        assert_eq!(kept(), Some(2));
        let reused = buffer(SMALLEST + 1);
        assert_eq!((reused.len(), reused[0], kept()), (SMALLEST + 1, 1.0, Some(1)));
        assert!(reused.capacity() >= 2 * SMALLEST, "the smallest that is large enough");
        assert_eq!((buffer(4 * SMALLEST)[0], kept()), (0.0, Some(1)));
        drop(outer);
        assert_eq!(kept(), None);
    }

    #[test]
    fn what_a_graph_needs_stays() {
        let _recycling = Recycling::begin();
        let x = Var::from_tensor(&tensor(SMALLEST)).unwrap();
        let y = (x.as_tensor() * 2.0).unwrap();
        recycle(y.clone()).unwrap();
        recycle(x.as_tensor().clone()).unwrap();
        assert_eq!((kept(), y.get(0).unwrap().to_scalar::<f32>().unwrap()), (Some(0), 2.0));
    }
}
