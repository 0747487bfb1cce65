//! Gradient checkpointing (Chen et al. 2016): a stretch of the model that keeps nothing but its input for the
//! backward pass, and is computed again there.
//!
//! candle asks a custom op for the gradients of its arguments. The trainable tensors of the stretch are none,
//! so their gradients go into a [`GradientSink`] on the way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, MetalStorage, Result, Shape, Storage, Tensor,
    TensorId, Var,
};

/// A stretch of the model.
type Stretch = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

/// Collects the gradients of trainable tensors inside of checkpointed stretches.
#[derive(Debug)]
pub(crate) struct GradientSink {
    parameters: Vec<Var>,
    sums: Mutex<HashMap<TensorId, Tensor>>,
}

impl GradientSink {
    pub(crate) fn new(parameters: Vec<Var>) -> Self {
        Self { parameters, sums: Mutex::default() }
    }

    /// Takes out what was collected since the last time, by the parameter's id.
    pub(crate) fn take(&self) -> HashMap<TensorId, Tensor> {
        std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, parameter: &Var, gradient: Tensor) -> Result<()> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match sums.remove(&parameter.id()) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        sums.insert(parameter.id(), sum);
        Ok(())
    }
}

/// `stretch(x)`, which may overwrite `x`. When `x` is part of a graph, the graph gets a single node for the
/// whole stretch.
pub(in crate::model) fn checkpointed(
    x: &Tensor,
    sink: &Arc<GradientSink>,
    stretch: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() {
        return stretch(x);
    }
    // Layers may overwrite an input that no graph needs, and this one is needed again.
    let output = stretch(&x.detach().copy()?)?.contiguous()?;
    x.apply_op1(Checkpointed {
        stretch: Box::new(stretch),
        sink: sink.clone(),
        output: Mutex::new(Some(output)),
    })
}

struct Checkpointed {
    stretch: Box<Stretch>,
    sink: Arc<GradientSink>,
    /// The result, until candle takes it.
    output: Mutex<Option<Tensor>>,
}

impl Checkpointed {
    fn output(&self) -> Result<Tensor> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        output.ok_or_else(|| candle_core::Error::Msg("a checkpointed stretch was run twice".to_owned()))
    }
}

impl CustomOp1 for Checkpointed {
    fn name(&self) -> &'static str {
        "checkpointed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.output()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => Err(moved()),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let output = self.output()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => Err(moved()),
        }
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        let output = self.output()?;
        let (storage, layout) = output.storage_and_layout();
        match &*storage {
            Storage::Metal(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => Err(moved()),
        }
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let x = Var::from_tensor(&x.detach())?;
        let y = (self.stretch)(&x)?;
        // The derivative of this sum is `grad` times that of the stretch.
        let sum = (y.to_dtype(DType::F32)? * grad.to_dtype(DType::F32)?)?.sum_all()?;
        let mut grads = sum.backward()?;
        for parameter in &self.sink.parameters {
            if let Some(gradient) = grads.remove(parameter) {
                self.sink.add(parameter, gradient)?;
            }
        }
        Ok(grads.remove(&x))
    }
}

fn moved() -> candle_core::Error {
    candle_core::Error::Msg("a checkpointed stretch changed the device".to_owned())
}
