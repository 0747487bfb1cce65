//! The arithmetic of the model on the CPU: pure functions on slices of f32.
//!
//! Tokens are rows. Matrices are row-major, heads lie side by side in a row, and sequences follow each other
//! without padding: [`linear`] takes weights of every type, [`attention`] takes ranges of rows as segments,
//! the rest works row by row. What training needs has its backward pass beside it: a `_backward` kernel takes
//! the operands of the forward pass and the gradient of its result. All of it runs on the current rayon pool,
//! stays on the calling thread where a call is small, and gives a row the same result whatever the number of
//! threads. The kernels know nothing of tensors; the layers wrap them.

mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod bf16_matrix;
#[cfg(target_arch = "x86_64")]
mod blocks;
mod dropout;
mod error;
mod f32_matrix;
mod feed_forward;
mod floats;
mod huge_pages;
mod int8;
mod layer_norm;
mod line;
mod linear;
mod linear_backward;
mod matmul;
mod norm;
mod parallel;
mod rope;
mod scratch;
mod simd;
#[cfg(test)]
mod test_data;

pub use activation::{Activation, activate, activate_backward, add, gated_mul, gated_mul_backward};
pub use attention::{AttentionGradients, AttentionSegment, Heads, attention, attention_backward};
pub use bf16_matrix::Bf16Matrix;
pub use dropout::{DropoutMask, dropout, mix64};
pub use error::KernelError;
pub use f32_matrix::F32Matrix;
pub use feed_forward::{FeedForward, feed_forward};
pub use floats::Floats;
pub use int8::{Int8Matrix, round_to_int8};
pub use layer_norm::{layer_norm, layer_norm_backward};
pub use linear::{LinearRef, LinearShape, Products, WeightRef, linear, transpose};
pub use linear_backward::{column_sums, linear_backward};
pub use matmul::{MatrixRef, matmul, product};
pub use norm::{rms_norm, rms_norm_backward};
pub use rope::{HeadsShape, apply_rope};
