//! Tensors on the CPU seen as slices, for the kernels to work on, and what works in place on every device that has
//! kernels.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, Device, Error, InplaceOp2, InplaceOp3, Layout, Result, Storage, StorageRef, Tensor,
};

use super::cuda;
use crate::model::kernels::{self, Floats, Heads, HeadsShape, KernelError, WeightRef};

/// A tensor's storage, held for reading.
pub(super) struct Held<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

pub(super) fn hold(tensor: &Tensor) -> Held<'_> {
    let (storage, layout) = tensor.storage_and_layout();
    Held { storage, layout }
}

impl Held<'_> {
    fn view(&self) -> Result<View<'_>> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(View { storage, layout: self.layout }),
            _ => Err(unexpected("a CPU tensor", self.layout)),
        }
    }

    /// As [`View::f32`].
    pub(super) fn f32(&self) -> Result<&[f32]> {
        self.view()?.f32()
    }

    /// The values of a contiguous weight.
    pub(super) fn floats(&self) -> Result<Floats<'_>> {
        let View { storage, layout } = self.view()?;
        match storage {
            CpuStorage::F32(values) => Ok(Floats::F32(slice(values, layout)?)),
            CpuStorage::BF16(values) => Ok(Floats::Bf16(slice(values, layout)?)),
            CpuStorage::F16(values) => Ok(Floats::F16(slice(values, layout)?)),
            _ => Err(unexpected("f32, bf16 or f16 weights", layout)),
        }
    }

    /// The same for kernels, which want f32 `[in, out]`.
    pub(super) fn weight(&self) -> Result<WeightRef<'_>> {
        Ok(match self.floats()? {
            Floats::F32(values) => WeightRef::F32(values),
            Floats::Bf16(values) => WeightRef::Bf16(values),
            Floats::F16(values) => WeightRef::F16(values),
        })
    }

    /// As [`View::heads`].
    pub(super) fn heads(&self) -> Result<Heads<'_>> {
        self.view()?.heads()
    }
}

/// An operand of a custom op.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) storage: &'a CpuStorage,
    pub(super) layout: &'a Layout,
}

impl<'a> View<'a> {
    pub(super) fn new(storage: &'a CpuStorage, layout: &'a Layout) -> Self {
        Self { storage, layout }
    }

    /// The values of a contiguous f32 tensor.
    pub(super) fn f32(self) -> Result<&'a [f32]> {
        slice(f32_storage(self.storage, self.layout)?, self.layout)
    }

    /// (rows, heads, width) in f32, whose rows may lie apart.
    pub(super) fn heads(self) -> Result<Heads<'a>> {
        let shape = heads_shape(self.layout)?;
        let values = f32_storage(self.storage, self.layout)?;
        let values = values.get(self.layout.start_offset()..);
        Ok(Heads { values: values.ok_or_else(|| unexpected("values", self.layout))?, shape })
    }
}

fn f32_storage<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(unexpected("f32 values", layout)),
    }
}

fn slice<'a, T>(values: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or_else(|| unexpected("a contiguous tensor", layout))?;
    values.get(start..end).ok_or_else(|| unexpected("values", layout))
}

fn heads_shape(layout: &Layout) -> Result<HeadsShape> {
    let (rows, heads, head_dim) = layout.shape().dims3()?;
    match *layout.stride() {
        // A lone head has no stride to speak of.
        [row_stride, stride, 1] if stride == head_dim || heads == 1 => {
            Ok(HeadsShape { rows, heads, head_dim, row_stride })
        }
        _ => Err(unexpected("heads side by side", layout)),
    }
}

fn unexpected(expected: &str, layout: &Layout) -> Error {
    Error::Msg(format!("expected {expected}, got shape {:?}, strides {:?}", layout.shape(), layout.stride()))
}

/// A kernel's complaint as a tensor error.
pub(super) fn kernel(error: KernelError) -> Error {
    Error::wrap(error)
}

/// Whether what works in place runs on `device`.
pub(super) fn in_place(device: &Device) -> bool {
    device.is_cpu() || cuda::runs_on(device)
}

/// `x += y`, in place.
pub(super) struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add-in-place"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout, y: &CpuStorage, y_layout: &Layout) -> Result<()> {
        let y = slice(f32_storage(y, y_layout)?, y_layout)?;
        let (start, end) =
            layout.contiguous_offsets().ok_or_else(|| unexpected("a contiguous tensor", layout))?;
        kernels::add(&mut f32_storage_mut(x, layout)?[start..end], y).map_err(kernel)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &mut CudaStorage,
        layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
    ) -> Result<()> {
        cuda::add(x, layout, y, y_layout)
    }
}

/// Rotates (rows, heads, width) in place by cosines and sines of (rows, width / 2).
pub(super) struct Rope;

impl InplaceOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope-in-place"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let cos = slice(f32_storage(cos, cos_layout)?, cos_layout)?;
        let sin = slice(f32_storage(sin, sin_layout)?, sin_layout)?;
        let x = &mut f32_storage_mut(x, layout)?[layout.start_offset()..];
        kernels::apply_rope(x, heads_shape(layout)?, cos, sin).map_err(kernel)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &mut CudaStorage,
        layout: &Layout,
        cos: &CudaStorage,
        cos_layout: &Layout,
        sin: &CudaStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        cuda::rope(x, layout, [(cos, cos_layout), (sin, sin_layout)])
    }
}

fn f32_storage_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(unexpected("f32 values", layout)),
    }
}
