//! Compiles the kernels at first use, and starts them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaStream, DevicePtr, DeviceRepr, LaunchArgs, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor};
use half::{bf16, f16};

use super::Softmax;
use crate::model::kernels::Activation;

/// Threads of a block.
const THREADS: usize = 256;
/// Values that a thread takes at one time.
const VALUES: usize = 8;

/// A type that there are kernels for, and what they call it.
trait Value: CudaDType + DeviceRepr {
    const NAME: &'static str;
}

impl Value for f32 {
    const NAME: &'static str = "float";
}

impl Value for bf16 {
    const NAME: &'static str = "bf16";
}

impl Value for f16 {
    const NAME: &'static str = "f16";
}

/// Calls a function of the type of values that `$dtype` means.
macro_rules! typed {
    ($dtype:expr, $function:ident($($argument:expr),*)) => {
        match $dtype {
            DType::F32 => $function::<f32>($($argument),*),
            DType::BF16 => $function::<bf16>($($argument),*),
            DType::F16 => $function::<f16>($($argument),*),
            other => Err(Error::Msg(format!("expected f32, bf16 or f16 on the GPU, got {other:?}"))),
        }
    };
}

/// `x` becomes `x + y`, where `y` is as long as `x`, or as a row of it that is added to each.
pub(in crate::model::ops) fn add(
    x: &mut CudaStorage,
    x_layout: &Layout,
    y: &CudaStorage,
    y_layout: &Layout,
) -> Result<()> {
    let (x_at, y_at) = (contiguous(x_layout)?, contiguous(y_layout)?);
    if y_at.len() != x_at.len() {
        same_length(y_at.len(), x_layout.dims().last().copied().unwrap_or(0))?;
    }
    let width = number(y_at.len())?;
    typed!(x.dtype(), in_place("add", x, x_at, Some((y, y_at)), width))
}

pub(super) fn activate(x: &mut CudaStorage, layout: &Layout, activation: Activation) -> Result<()> {
    let at = contiguous(layout)?;
    typed!(x.dtype(), in_place("activate", x, at, None, number_of(activation)))
}

pub(super) fn gated_mul(
    gate: &mut CudaStorage,
    gate_layout: &Layout,
    up: &CudaStorage,
    up_layout: &Layout,
    activation: Activation,
) -> Result<()> {
    let (gate_at, up_at) = (contiguous(gate_layout)?, contiguous(up_layout)?);
    same_length(up_at.len(), gate_at.len())?;
    typed!(gate.dtype(), in_place("gated_mul", gate, gate_at, Some((up, up_at)), number_of(activation)))
}

/// Starts the kernel `name` on the values of `x` at `at`, those of `other` if it has a second operand, and
/// `parameter`, a width or an activation.
fn in_place<T: Value>(
    name: &str,
    x: &mut CudaStorage,
    at: Range<usize>,
    other: Option<(&CudaStorage, Range<usize>)>,
    parameter: u32,
) -> Result<()> {
    if at.is_empty() {
        return Ok(());
    }
    let (kernel, count) = (kernel::<T>(&x.device, name)?, at.len());
    let other = other.map(|(other, at)| Ok::<_, Error>(other.as_cuda_slice::<T>()?.slice(at))).transpose()?;
    let mut x = x.as_cuda_slice_mut::<T>()?.slice_mut(at);
    let length = count as u64;
    let mut launch = kernel.builder();
    launch.arg(&mut x);
    if let Some(other) = &other {
        launch.arg(other);
    }
    launch.arg(&parameter).arg(&length);
    // SAFETY: these are the arguments of `add`, `activate` and `gated_mul`; their callers compare lengths.
    unsafe { launch.launch(over(count.div_ceil(VALUES))) }.w()?;
    Ok(())
}

pub(super) fn rms_norm(
    x: &CudaStorage,
    layout: &Layout,
    weight: &CudaStorage,
    weight_layout: &Layout,
    eps: f32,
) -> Result<CudaStorage> {
    fn typed_rms_norm<T: Value>(
        x: &CudaStorage,
        at: Range<usize>,
        weight: &CudaStorage,
        weight_at: Range<usize>,
        eps: f32,
    ) -> Result<CudaStorage> {
        let kernel = kernel::<T>(&x.device, "rms_norm")?;
        let (count, width) = (at.len(), weight_at.len());
        let rows = x.as_cuda_slice::<T>()?.slice(at);
        let weight = weight.as_cuda_slice::<T>()?.slice(weight_at);
        // SAFETY: the kernel writes every value.
        let mut normed = unsafe { x.device.alloc::<T>(count) }?;
        let values = number(width)?;
        let mut launch = kernel.builder();
        launch.arg(&rows).arg(&weight).arg(&mut normed).arg(&values).arg(&eps);
        // SAFETY: these are the arguments of `rms_norm`; there is one block for each row of `width` values.
        unsafe { launch.launch(of_rows(count / width, width / VALUES)?) }.w()?;
        Ok(CudaStorage::wrap_cuda_slice(normed, x.device.clone()))
    }
    let (at, weight_at) = (contiguous(layout)?, contiguous(weight_layout)?);
    same_length(layout.dims().last().copied().unwrap_or(0), weight_at.len())?;
    typed!(x.dtype(), typed_rms_norm(x, at, weight, weight_at, eps))
}

/// Rotates (rows, heads, width) in place by cosines and sines of (rows, width / 2).
pub(in crate::model::ops) fn rope(
    x: &mut CudaStorage,
    layout: &Layout,
    [cos, sin]: [(&CudaStorage, &Layout); 2],
) -> Result<()> {
    fn typed_rope<T: Value>(
        x: &mut CudaStorage,
        at: Range<usize>,
        cos: (&CudaStorage, Range<usize>),
        sin: (&CudaStorage, Range<usize>),
        [rows, heads, half, row_stride]: [usize; 4],
    ) -> Result<()> {
        let kernel = kernel::<T>(&x.device, "rope")?;
        let cos = cos.0.as_cuda_slice::<T>()?.slice(cos.1);
        let sin = sin.0.as_cuda_slice::<T>()?.slice(sin.1);
        let mut x = x.as_cuda_slice_mut::<T>()?.slice_mut(at);
        let count = rows * heads * half;
        let (length, stride) = (count as u64, row_stride as u64);
        let (heads, half) = (number(heads)?, number(half)?);
        let mut launch = kernel.builder();
        launch.arg(&mut x).arg(&cos).arg(&sin).arg(&heads).arg(&half).arg(&stride).arg(&length);
        // SAFETY: these are the arguments of `rope`; `x` reaches to its last row's last value, and the tables have
        // `rows` rows of `half` values.
        unsafe { launch.launch(over(count)) }.w()?;
        Ok(())
    }
    let (rows, heads, width) = layout.shape().dims3()?;
    let (row_stride, at) = side_by_side(layout)?;
    if at.is_empty() {
        return Ok(());
    }
    let (cos_at, sin_at) = (contiguous(cos.1)?, contiguous(sin.1)?);
    same_length(rows * (width / 2), cos_at.len())?;
    same_length(rows * (width / 2), sin_at.len())?;
    let sizes = [rows, heads, width / 2, row_stride];
    typed!(x.dtype(), typed_rope(x, at, (cos.0, cos_at), (sin.0, sin_at), sizes))
}

pub(super) fn softmax(scores: &mut CudaStorage, layout: &Layout, softmax: &Softmax) -> Result<()> {
    fn typed_softmax<T: Value>(
        scores: &mut CudaStorage,
        at: Range<usize>,
        keys: usize,
        softmax: &Softmax,
    ) -> Result<()> {
        let (kernel, rows) = (kernel::<T>(&scores.device, "softmax")?, at.len() / keys);
        let mut scores = scores.as_cuda_slice_mut::<T>()?.slice_mut(at);
        let (row, limit, queries) = (number(keys)?, number(softmax.keys)?, number(softmax.queries)?);
        let diagonal: i32 = match softmax.diagonal {
            Some(diagonal) => i32::try_from(diagonal).map_err(Error::wrap)?,
            None => -1,
        };
        let mut launch = kernel.builder();
        launch.arg(&mut scores).arg(&row).arg(&limit).arg(&queries).arg(&diagonal).arg(&softmax.scale);
        // SAFETY: these are the arguments of `softmax`; there is one block for each row of `keys` values.
        unsafe { launch.launch(of_rows(rows, keys.div_ceil(VALUES))?) }.w()?;
        Ok(())
    }
    let at = contiguous(layout)?;
    let keys = layout.dims().last().copied().unwrap_or(0);
    if at.is_empty() {
        return Ok(());
    }
    typed!(scores.dtype(), typed_softmax(scores, at, keys, softmax))
}

/// As [`heads_first`](super::heads_first).
pub(super) fn heads_first(
    x: &CudaStorage,
    layout: &Layout,
    order: Option<&Tensor>,
    length: usize,
    padded: usize,
) -> Result<(CudaStorage, Shape)> {
    fn typed_heads_first<T: Value>(
        x: &CudaStorage,
        at: Range<usize>,
        heads: &Heads,
        order: u64,
    ) -> Result<CudaStorage> {
        let rows = x.as_cuda_slice::<T>()?.slice(at);
        let kernel = kernel::<T>(&x.device, "move_heads")?;
        // SAFETY: the kernel writes every value.
        let mut heads_first = unsafe { x.device.alloc::<T>(heads.count) }?;
        let (count, stride, back) = (heads.count as u64, heads.row_stride as u64, 0i32);
        let [head_count, length, padded, width] = heads.sizes()?;
        let mut launch = kernel.builder();
        launch.arg(&rows).arg(&mut heads_first).arg(&order);
        launch.arg(&head_count).arg(&length).arg(&padded).arg(&width).arg(&stride).arg(&count).arg(&back);
        // SAFETY: these are the arguments of `move_heads`; as many rows are asked for as `x` or `order` has.
        unsafe { launch.launch(over(heads.count.div_ceil(VALUES))) }.w()?;
        Ok(CudaStorage::wrap_cuda_slice(heads_first, x.device.clone()))
    }
    let (rows, heads, width) = layout.shape().dims3()?;
    let asked = order.map_or(rows, Tensor::elem_count);
    let (row_stride, at) = side_by_side(layout)?;
    let segments = asked / length;
    let moved = Heads { heads, length, padded, width, row_stride, count: segments * heads * padded * width };
    let order = order.map(address).transpose()?.unwrap_or(NO_ORDER);
    let storage = typed!(x.dtype(), typed_heads_first(x, at, &moved, order))?;
    Ok((storage, Shape::from((segments, heads, padded, width))))
}

/// As [`rows_first`](super::rows_first).
pub(super) fn rows_first(
    out: &mut CudaStorage,
    out_layout: &Layout,
    x: &CudaStorage,
    layout: &Layout,
    order: Option<&Tensor>,
) -> Result<()> {
    fn typed_rows_first<T: Value>(
        out: &mut CudaStorage,
        out_at: Range<usize>,
        x: &CudaStorage,
        at: Range<usize>,
        heads: &Heads,
        order: u64,
    ) -> Result<()> {
        let kernel = kernel::<T>(&out.device, "move_heads")?;
        let heads_first = x.as_cuda_slice::<T>()?.slice(at);
        let mut rows = out.as_cuda_slice_mut::<T>()?.slice_mut(out_at);
        let (count, stride, back) = (heads.count as u64, heads.row_stride as u64, 1i32);
        let [head_count, length, padded, width] = heads.sizes()?;
        let mut launch = kernel.builder();
        launch.arg(&mut rows).arg(&heads_first).arg(&order);
        launch.arg(&head_count).arg(&length).arg(&padded).arg(&width).arg(&stride).arg(&count).arg(&back);
        // SAFETY: these are the arguments of `move_heads`; `x` has as many rows as `out` or `order` has.
        unsafe { launch.launch(over(heads.count.div_ceil(VALUES))) }.w()?;
        Ok(())
    }
    let (rows, heads, width) = out_layout.shape().dims3()?;
    let (segments, _, length, _) = layout.shape().dims4()?;
    same_length(segments * length, order.map_or(rows, Tensor::elem_count))?;
    let (row_stride, out_at) = side_by_side(out_layout)?;
    let at = contiguous(layout)?;
    let count = segments * length * heads * width;
    let moved = Heads { heads, length, padded: length, width, row_stride, count };
    same_length(at.len(), moved.count)?;
    let order = order.map(address).transpose()?.unwrap_or(NO_ORDER);
    typed!(out.dtype(), typed_rows_first(out, out_at, x, at, &moved, order))
}

/// What `move_heads` has to know.
struct Heads {
    heads: usize,
    length: usize,
    padded: usize,
    width: usize,
    row_stride: usize,
    /// Values that are moved.
    count: usize,
}

impl Heads {
    fn sizes(&self) -> Result<[u32; 4]> {
        Ok([number(self.heads)?, number(self.length)?, number(self.padded)?, number(self.width)?])
    }
}

/// The address that is none: rows as they come.
const NO_ORDER: u64 = 0;

/// Where the numbers of rows lie on the device; as long as `order` is held, and behind that until all that was
/// started before is done, as the stream frees in order.
fn address(order: &Tensor) -> Result<u64> {
    let (order, layout) = order.storage_and_layout();
    let Storage::Cuda(order) = &*order else {
        return Err(Error::Msg("the order is not on the GPU".to_owned()));
    };
    let numbers = order.as_cuda_slice::<u32>()?.slice(contiguous(layout)?);
    let stream = order.device.cuda_stream();
    let (address, _) = numbers.device_ptr(&stream);
    Ok(address)
}

/// How far the rows of (rows, heads, width) lie apart, whose heads lie side by side, and where they are.
fn side_by_side(layout: &Layout) -> Result<(usize, Range<usize>)> {
    let (rows, heads, width) = layout.shape().dims3()?;
    match *layout.stride() {
        [row_stride, stride, 1] if stride == width || heads == 1 => {
            let length = if rows == 0 { 0 } else { (rows - 1) * row_stride + heads * width };
            Ok((row_stride, layout.start_offset()..layout.start_offset() + length))
        }
        _ => Err(Error::Msg(format!("expected heads side by side on the GPU, got {layout:?}"))),
    }
}

/// The kernel called `name` for values of type `T`.
fn kernel<T: Value>(device: &CudaDevice, name: &str) -> Result<Kernel> {
    static COMPILED: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| {
        let compiled = nvrtc::compile_ptx(include_str!("kernels.cu"));
        compiled.map(|ptx| ptx.to_src()).map_err(|error| error.to_string())
    });
    let compiled =
        compiled.as_deref().map_err(|error| Error::Msg(format!("cannot compile for the GPU: {error}")))?;
    let function = device.get_or_load_custom_func(&format!("{name}_{}", T::NAME), "gve", compiled)?;
    Ok(Kernel { function: function.into_cuda_function(), stream: device.cuda_stream() })
}

struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

impl Kernel {
    fn builder(&self) -> LaunchArgs<'_> {
        self.stream.launch_builder(&self.function)
    }
}

/// Blocks for as many `threads`.
fn over(threads: usize) -> LaunchConfig {
    // Kernels go round where there are more.
    let blocks = threads.div_ceil(THREADS).clamp(1, i32::MAX as usize);
    LaunchConfig { grid_dim: (blocks as u32, 1, 1), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 }
}

/// A block of about as many `threads` for each of `rows`.
fn of_rows(rows: usize, threads: usize) -> Result<LaunchConfig> {
    let threads = threads.next_power_of_two().clamp(32, THREADS);
    Ok(LaunchConfig {
        grid_dim: (number(rows)?, 1, 1),
        block_dim: (number(threads)?, 1, 1),
        shared_mem_bytes: 0,
    })
}

fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => Err(Error::Msg(format!("expected a contiguous tensor on the GPU, got {layout:?}"))),
    }
}

fn same_length(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Msg(format!("expected {expected} values on the GPU, got {found}")))
    }
}

fn number(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(Error::wrap)
}

/// What the kernels call an activation.
fn number_of(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::QuickGelu => 3,
        Activation::Relu => 4,
    }
}
