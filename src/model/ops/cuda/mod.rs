//! Operations on NVIDIA GPUs that candle has no kernel for, or a slow one, forward only: `kernels.cu` says what they
//! do. Elsewhere, and in a graph, the same is tensor expressions.

// Without the feature nobody reads what an operation is made of.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

// The driver takes arguments by address, whatever they are.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod launch;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Device, Error, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor,
};

#[cfg(feature = "cuda")]
pub(super) use launch::{add, rope};

use crate::model::kernels::Activation;

/// Whether the kernels run on `device`.
pub(super) fn runs_on(device: &Device) -> bool {
    cfg!(feature = "cuda") && device.is_cuda()
}

/// (rows, heads, width) to (segments, heads, `padded`, width), where the rows of the segments, one behind the other,
/// each of `length`, are those of `order`, or all. What is behind `length` is zero.
pub(super) fn heads_first(
    x: &Tensor,
    order: Option<&Tensor>,
    length: usize,
    padded: usize,
) -> Result<Tensor> {
    x.apply_op1_no_bwd(&HeadsFirst { order: order.cloned(), length, padded })
}

/// The way back: (segments, heads, length, width) to the rows `order` of `out` (rows, heads, width), or to all.
pub(super) fn rows_first(out: &Tensor, x: &Tensor, order: Option<&Tensor>) -> Result<()> {
    out.inplace_op2(x, &RowsFirst { order: order.cloned() })
}

struct HeadsFirst {
    order: Option<Tensor>,
    length: usize,
    padded: usize,
}

impl CustomOp1 for HeadsFirst {
    fn name(&self) -> &'static str {
        "heads-first"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        launch::heads_first(x, layout, self.order.as_ref(), self.length, self.padded)
    }
}

struct RowsFirst {
    order: Option<Tensor>,
}

impl InplaceOp2 for RowsFirst {
    fn name(&self) -> &'static str {
        "rows-first"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        x: &CudaStorage,
        layout: &Layout,
    ) -> Result<()> {
        launch::rows_first(out, out_layout, x, layout, self.order.as_ref())
    }
}

/// Rows of a multiple of as many values begin at multiples of 16 bytes in half precision: cuBLAS takes a third of
/// the time that products of others take.
pub(super) const ALIGNED: usize = 8;

fn elsewhere() -> Error {
    Error::Msg("this operation is for CUDA devices".to_owned())
}

/// Adds a row of (width) to each of (rows, width).
pub(super) struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &mut CudaStorage,
        x_layout: &Layout,
        bias: &CudaStorage,
        layout: &Layout,
    ) -> Result<()> {
        add(x, x_layout, bias, layout)
    }
}

/// Root-mean-square norm of rows of (.., width), scaled by a weight (width).
pub(super) struct RmsNorm {
    pub(super) eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm-on-cuda"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((launch::rms_norm(x, layout, weight, weight_layout, self.eps)?, layout.shape().clone()))
    }
}

/// `x` becomes the activation of `x`.
pub(super) struct Activate(pub(super) Activation);

impl InplaceOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate-in-place"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &mut CudaStorage, layout: &Layout) -> Result<()> {
        launch::activate(x, layout, self.0)
    }
}

/// `gate` becomes `activation(gate) * up`.
pub(super) struct GatedMul(pub(super) Activation);

impl InplaceOp2 for GatedMul {
    fn name(&self) -> &'static str {
        "gated-mul-in-place"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gate: &mut CudaStorage,
        gate_layout: &Layout,
        up: &CudaStorage,
        layout: &Layout,
    ) -> Result<()> {
        launch::gated_mul(gate, gate_layout, up, layout, self.0)
    }
}

/// Attention scores, (.., queries, keys and what is behind them), become weights.
pub(super) struct Softmax {
    /// What scores are multiplied with before.
    pub(super) scale: f32,
    /// The last key that the first query sees, where each further query sees one more.
    pub(super) diagonal: Option<usize>,
    pub(super) keys: usize,
    /// How many queries follow each other before the next begin at the first key again.
    pub(super) queries: usize,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax-in-place"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Err(elsewhere())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, scores: &mut CudaStorage, layout: &Layout) -> Result<()> {
        launch::softmax(scores, layout, self)
    }
}
