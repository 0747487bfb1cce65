use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, Layout, MetalStorage, Result, Shape, Storage, Tensor,
};

use super::cpu::{Held, View, hold, kernel};
use super::recycling::buffer;
use super::trained_linear::trained_linear;
use super::{Dropout, Lora, cuda, parameter};
use crate::model::ModelError;
use crate::model::kernels::{
    self, Bf16Matrix, F32Matrix, Floats, Int8Matrix, LinearRef, LinearShape, Products, WeightRef,
};
use crate::model::loader::Loader;

/// `y = x W^T + b`, with `W` of shape (out, in) as checkpoints store it, and a low-rank adapter on top where
/// one is trained.
pub(in crate::model) struct Linear {
    weight: Weight,
    lora: Option<Lora>,
}

enum Weight {
    Frozen(Arc<Frozen>),
    /// `W` as stored, in f32, and `b`.
    Trained(Tensor, Option<Tensor>),
}

impl Linear {
    /// A layer of these weights; `products` tells how half-precision ones are multiplied on the CPU.
    pub(in crate::model) fn new(weight: Tensor, bias: Option<Tensor>, products: Products) -> Result<Self> {
        let weight = if weight.track_op() {
            Weight::Trained(weight, bias)
        } else {
            Weight::Frozen(Arc::new(Frozen::new(weight, bias, products)?))
        };
        Ok(Self { weight, lora: None })
    }

    /// Loads `weight`, and `bias` where the layer has one. Weights that are not trained are rounded to int8
    /// where that is asked for.
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        let bias = bias.then(|| loader.activation("bias", &[outputs])).transpose()?;
        let frozen = |weight, bias| {
            Weight::Frozen(Arc::new(Frozen { weight, bias, products: loader.products(), inputs, outputs }))
        };
        if let Some(matrix) = loader.int8("weight", &[outputs, inputs])? {
            return Ok(Self { weight: frozen(Values::Int8(Arc::new(matrix)), bias), lora: None });
        }
        let rounds = loader.rounds_to_int8("weight");
        let laid_out = loader.stored("weight", &[outputs, inputs], |values, dtype| match rounds {
            true => Some(Values::Int8(Arc::new(rounded(values, [outputs, inputs])))),
            false => packed(values, dtype, [outputs, inputs], loader.products()),
        })?;
        if let Some(values) = laid_out {
            return Ok(Self { weight: frozen(values, bias), lora: None });
        }
        let weight = loader.weight("weight", &[outputs, inputs])?;
        let lora = loader.lora(&weight)?;
        if rounds && !weight.track_op() {
            let matrix = rounded(hold(&weight).floats()?, [outputs, inputs]);
            return Ok(Self { weight: frozen(Values::Int8(Arc::new(matrix)), bias), lora });
        }
        Ok(Self { lora, ..Self::from_weight(weight, bias, loader)? })
    }

    /// A layer of a weight that `loader` has loaded. Where nothing is trained it is laid out once for all calls.
    pub(in crate::model) fn from_weight(
        weight: Tensor,
        bias: Option<Tensor>,
        loader: &Loader<'_>,
    ) -> Result<Self> {
        let products = loader.products();
        let (outputs, inputs) = weight.dims2()?;
        if !loader.is_trained()
            && weight.device().is_cpu()
            && let Some(values) = packed(hold(&weight).floats()?, weight.dtype(), [outputs, inputs], products)
        {
            let frozen = Frozen { weight: values, bias, products, inputs, outputs };
            return Ok(Self { weight: Weight::Frozen(Arc::new(frozen)), lora: None });
        }
        Self::new(weight, bias, products)
    }

    /// (rows, in) to (rows, out).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_dropping(x, None)
    }

    /// As [`forward`](Self::forward), with dropout on the adapter's input.
    pub(in crate::model) fn forward_dropping(&self, x: &Tensor, dropout: Option<&Dropout>) -> Result<Tensor> {
        match (&self.weight, &self.lora) {
            (Weight::Frozen(frozen), None) => frozen.forward(x),
            (Weight::Frozen(frozen), Some(lora)) => lora.forward(frozen, x, dropout),
            (Weight::Trained(weight, bias), _) => {
                let weight = parameter(weight, x)?;
                let bias = bias.as_ref().map(|bias| parameter(bias, x)).transpose()?;
                if x.device().is_cpu() {
                    return trained_linear(x, &weight, bias.as_ref());
                }
                let y = x.matmul(&weight.t()?)?;
                match bias {
                    Some(bias) => y.broadcast_add(&bias),
                    None => Ok(y),
                }
            }
        }
    }

    /// The layer with further outputs that are zero, and with further inputs that do not matter; as it is where
    /// it is more than a frozen one.
    pub(super) fn widened(self, outputs: usize, inputs: usize) -> Result<Self> {
        let Some(frozen) = self.frozen() else { return Ok(self) };
        let Values::Tensor(weight) = &frozen.weight else { return Ok(self) };
        let (more_outputs, more_inputs) = (outputs - frozen.outputs, inputs - frozen.inputs);
        let weight = weight.pad_with_zeros(0, 0, more_outputs)?.pad_with_zeros(1, 0, more_inputs)?;
        let bias = frozen.bias.as_ref().map(|bias| bias.pad_with_zeros(0, 0, more_outputs)).transpose()?;
        Self::new(weight, bias, frozen.products)
    }

    /// The weights, where the layer is nothing but a frozen one.
    pub(in crate::model) fn frozen(&self) -> Option<&Frozen> {
        match (&self.weight, &self.lora) {
            (Weight::Frozen(frozen), None) => Some(frozen),
            _ => None,
        }
    }
}

/// The weights of a layer that does not learn. Its backward pass computes the gradient of the input alone;
/// candle's own would compute one of the weights' size besides.
pub(in crate::model) struct Frozen {
    weight: Values,
    bias: Option<Tensor>,
    products: Products,
    inputs: usize,
    outputs: usize,
}

#[derive(Clone)]
enum Values {
    /// (out, in), but (in, out) in f32 on the CPU, as the kernel wants it.
    Tensor(Tensor),
    /// On the CPU alone.
    F32(Arc<F32Matrix>),
    /// On the CPU alone.
    Bf16(Arc<Bf16Matrix>),
    /// On the CPU alone.
    Int8(Arc<Int8Matrix>),
}

impl Frozen {
    pub(super) fn new(weight: Tensor, bias: Option<Tensor>, products: Products) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let weight = if weight.device().is_cpu() && weight.dtype() == DType::F32 {
            let transposed = kernels::transpose(hold(&weight).f32()?, outputs, inputs);
            Tensor::from_vec(transposed, (inputs, outputs), &Device::Cpu)?
        } else {
            weight
        };
        Ok(Self { weight: Values::Tensor(weight), bias, products, inputs, outputs })
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn is_on_cuda(&self) -> bool {
        matches!(&self.weight, Values::Tensor(weight) if weight.device().is_cuda())
    }

    /// (rows, in) to (rows, out).
    pub(super) fn forward(self: &Arc<Self>, x: &Tensor) -> Result<Tensor> {
        let y = x.contiguous()?.apply_op1(FrozenLinear(self.clone()))?;
        match &self.bias {
            // On the CPU the kernel has added it.
            Some(_) if x.device().is_cpu() => Ok(y),
            Some(bias) if cuda::runs_on(x.device()) && !x.track_op() => {
                y.inplace_op2(bias, &cuda::AddBias)?;
                Ok(y)
            }
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// The same on slices, `rows` x in to `rows` x out.
    pub(super) fn apply(&self, x: &[f32], rows: usize, y: &mut [f32]) -> Result<()> {
        let held = self.hold();
        let LinearRef { weight, bias, shape } = held.layer(rows)?;
        kernels::linear(x, weight, self.products, shape, bias, y).map_err(kernel)
    }

    /// Weights and bias, held for the kernels.
    pub(super) fn hold(&self) -> HeldLinear<'_> {
        let weight = match &self.weight {
            Values::Tensor(weight) => HeldValues::Tensor(hold(weight)),
            Values::F32(matrix) => HeldValues::F32(matrix),
            Values::Bf16(matrix) => HeldValues::Bf16(matrix),
            Values::Int8(matrix) => HeldValues::Int8(matrix),
        };
        HeldLinear { weight, bias: self.bias.as_ref().map(hold), layer: self }
    }

    pub(super) fn products(&self) -> Products {
        self.products
    }

    pub(super) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The layer without its bias.
    pub(super) fn unbiased(&self) -> Arc<Self> {
        Arc::new(Self { weight: self.weight.clone(), bias: None, ..*self })
    }

    /// The input's gradient from that of the output, (rows, out) to (rows, in).
    pub(super) fn backward(&self, grad: &Tensor) -> Result<Tensor> {
        let grad = grad.contiguous()?;
        if let Values::Tensor(weight) = &self.weight
            && !grad.device().is_cpu()
        {
            return grad.matmul(weight);
        }
        let rows = grad.dim(0)?;
        let grad_x = self.backward_on_cpu(hold(&grad).f32()?, rows)?;
        Tensor::from_vec(grad_x, (rows, self.inputs), &Device::Cpu)
    }

    /// The same on slices, of `rows` rows.
    pub(super) fn backward_on_cpu(&self, grad: &[f32], rows: usize) -> Result<Vec<f32>> {
        let mut grad_x = vec![0.0; rows * self.inputs];
        let held = self.hold();
        let LinearRef { weight, shape, .. } = held.layer(rows)?;
        kernels::linear_backward(grad, weight, shape, &mut grad_x).map_err(kernel)?;
        Ok(grad_x)
    }

    fn shape(&self, rows: usize) -> LinearShape {
        LinearShape { rows, in_features: self.inputs, out_features: self.outputs }
    }
}

/// A layer's tensors on the CPU, held for reading.
pub(super) struct HeldLinear<'a> {
    weight: HeldValues<'a>,
    bias: Option<Held<'a>>,
    layer: &'a Frozen,
}

enum HeldValues<'a> {
    Tensor(Held<'a>),
    F32(&'a F32Matrix),
    Bf16(&'a Bf16Matrix),
    Int8(&'a Int8Matrix),
}

impl HeldLinear<'_> {
    /// The layer as the kernels take it, of `rows` rows.
    pub(super) fn layer(&self, rows: usize) -> Result<LinearRef<'_>> {
        let bias = self.bias.as_ref().map(|bias| bias.f32()).transpose()?;
        let weight = match &self.weight {
            HeldValues::Tensor(held) => held.weight()?,
            HeldValues::F32(matrix) => WeightRef::PackedF32(matrix),
            HeldValues::Bf16(matrix) => WeightRef::PackedBf16(matrix),
            HeldValues::Int8(matrix) => WeightRef::Int8(matrix),
        };
        Ok(LinearRef { weight, bias, shape: self.layer.shape(rows) })
    }
}

/// The values of (out, in) as int8.
fn rounded(values: Floats<'_>, [outputs, inputs]: [usize; 2]) -> Int8Matrix {
    Int8Matrix::round(inputs, outputs, |output, row| {
        values.widen(output * inputs..(output + 1) * inputs, row);
    })
}

/// The values of (out, in) in a type as the kernels on the CPU read them fastest, if that is another layout.
fn packed(
    values: Floats<'_>,
    dtype: DType,
    [outputs, inputs]: [usize; 2],
    products: Products,
) -> Option<Values> {
    match (values, dtype) {
        (_, DType::F32) if F32Matrix::pays() => {
            Some(Values::F32(Arc::new(F32Matrix::pack(values, inputs, outputs))))
        }
        (Floats::Bf16(values), DType::BF16) if Bf16Matrix::pays(products, false) => {
            Some(Values::Bf16(Arc::new(Bf16Matrix::pack(values, inputs, outputs))))
        }
        _ => None,
    }
}

struct FrozenLinear(Arc<Frozen>);

impl FrozenLinear {
    /// Rows of an input, and the shape of its output.
    fn rows(&self, layout: &Layout) -> Result<(usize, Shape)> {
        let (rows, _) = layout.shape().dims2()?;
        Ok((rows, Shape::from((rows, self.0.outputs))))
    }

    /// Sizes and the weights' layout for a product on a GPU.
    fn product(&self, rows: usize, weight: &Layout) -> Result<((usize, usize, usize, usize), Layout)> {
        Ok(((1, rows, self.0.outputs, self.0.inputs), weight.transpose(0, 1)?))
    }
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, shape) = self.rows(layout)?;
        let mut y = buffer(shape.elem_count());
        self.0.apply(View::new(x, layout).f32()?, rows, &mut y)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (rows, shape) = self.rows(layout)?;
        let Values::Tensor(weight) = &self.0.weight else { return Err(elsewhere()) };
        let (weight, weight_layout) = weight.storage_and_layout();
        let Storage::Cuda(weight) = &*weight else { return Err(elsewhere()) };
        let (sizes, weight_layout) = self.product(rows, weight_layout)?;
        Ok((x.matmul(weight, sizes, layout, &weight_layout)?, shape))
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        let (rows, shape) = self.rows(layout)?;
        let Values::Tensor(weight) = &self.0.weight else { return Err(elsewhere()) };
        let (weight, weight_layout) = weight.storage_and_layout();
        let Storage::Metal(weight) = &*weight else { return Err(elsewhere()) };
        let (sizes, weight_layout) = self.product(rows, weight_layout)?;
        Ok((x.matmul(weight, sizes, layout, &weight_layout)?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.0.backward(grad).map(Some)
    }
}

fn elsewhere() -> candle_core::Error {
    candle_core::Error::Msg("weights and input are on different devices".to_owned())
}
