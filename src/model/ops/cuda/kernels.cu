// What a forward pass does between its matrix products, each as one kernel over memory. Compiled on the machine it
// runs on, without headers: halves are their bits, and everything is computed in f32.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct bf16 { u16 bits; };
struct f16 { u16 bits; };

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ float wide(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

__device__ __forceinline__ void put(float &to, float x) { to = x; }
__device__ __forceinline__ void put(f16 &to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ __forceinline__ void put(bf16 &to, float x) {
  u32 bits = __float_as_uint(x);
  // To the nearest, halves to even; what is not a number stays none.
  to.bits = x == x ? (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16) : (u16)0x7fffu;
}

// Division of 64 bits takes ten times as long as one of 32, which nearly always do.
__device__ __forceinline__ u64 quotient(u64 i, u32 n) { return i >> 32 ? i / n : (u32)i / n; }
__device__ __forceinline__ u32 remainder(u64 i, u32 n) { return i >> 32 ? (u32)(i % n) : (u32)i % n; }

// Sixteen bytes, which one instruction moves.
template <typename T> struct alignas(16) Pack {
  static const int N = 16 / sizeof(T);
  T at[N];
};

__device__ __forceinline__ bool aligned(const void *a, const void *b) { return (((u64)a | (u64)b) & 15) == 0; }

// x += y, where `y` is `width` values that are added to each row of as many, or to all of `x`.
template <typename T> __device__ void add(T *x, const T *y, u32 width, u64 count) {
  const int N = Pack<T>::N;
  u64 step = (u64)gridDim.x * blockDim.x;
  u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  u64 whole = width % N == 0 && aligned(x, y) ? count / N : 0;
  for (u64 i = first; i < whole; i += step) {
    Pack<T> a = ((Pack<T> *)x)[i], b = ((const Pack<T> *)y)[remainder(i, width / N)];
    for (int j = 0; j < N; j++) put(a.at[j], wide(a.at[j]) + wide(b.at[j]));
    ((Pack<T> *)x)[i] = a;
  }
  for (u64 i = whole * N + first; i < count; i += step) put(x[i], wide(x[i]) + wide(y[remainder(i, width)]));
}

enum { SILU, GELU, GELU_TANH, QUICK_GELU, RELU };

__device__ __forceinline__ float activated(float x, u32 activation) {
  switch (activation) {
    case SILU: return x / (1.0f + __expf(-x));
    case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case QUICK_GELU: return x / (1.0f + __expf(-1.702f * x));
    default: return fmaxf(x, 0.0f);
  }
}

// x = activation(x).
template <typename T> __device__ void activate(T *x, u32 activation, u64 count) {
  const int N = Pack<T>::N;
  u64 step = (u64)gridDim.x * blockDim.x;
  u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  u64 whole = aligned(x, x) ? count / N : 0;
  for (u64 i = first; i < whole; i += step) {
    Pack<T> a = ((Pack<T> *)x)[i];
    for (int j = 0; j < N; j++) put(a.at[j], activated(wide(a.at[j]), activation));
    ((Pack<T> *)x)[i] = a;
  }
  for (u64 i = whole * N + first; i < count; i += step) put(x[i], activated(wide(x[i]), activation));
}

// gate = activation(gate) * up.
template <typename T> __device__ void gated_mul(T *gate, const T *up, u32 activation, u64 count) {
  const int N = Pack<T>::N;
  u64 step = (u64)gridDim.x * blockDim.x;
  u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  u64 whole = aligned(gate, up) ? count / N : 0;
  for (u64 i = first; i < whole; i += step) {
    Pack<T> a = ((Pack<T> *)gate)[i], b = ((const Pack<T> *)up)[i];
    for (int j = 0; j < N; j++) put(a.at[j], activated(wide(a.at[j]), activation) * wide(b.at[j]));
    ((Pack<T> *)gate)[i] = a;
  }
  for (u64 i = whole * N + first; i < count; i += step) {
    put(gate[i], activated(wide(gate[i]), activation) * wide(up[i]));
  }
}

// Rotates (rows, heads, 2 half) by cosines and sines of (rows, half); rows lie `row_stride` apart.
template <typename T>
__device__ void rope(T *x, const T *cos, const T *sin, u32 heads, u32 half, u64 row_stride, u64 count) {
  u64 step = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    u32 place = remainder(i, half);
    u64 head_row = quotient(i, half);
    u32 head = remainder(head_row, heads);
    u64 row = quotient(head_row, heads);
    T *first = x + row * row_stride + (u64)head * 2 * half + place;
    float c = wide(cos[row * half + place]), s = wide(sin[row * half + place]);
    float a = wide(first[0]), b = wide(first[half]);
    put(first[0], a * c - b * s);
    put(first[half], b * c + a * s);
  }
}

__device__ __forceinline__ float over_block(float x, bool largest, float *shared) {
  for (int lane = 16; lane > 0; lane /= 2) {
    float other = __shfl_xor_sync(0xffffffffu, x, lane);
    x = largest ? fmaxf(x, other) : x + other;
  }
  u32 warps = blockDim.x / 32;
  if (warps == 1) return x;
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (u32 warp = 1; warp < warps; warp++) x = largest ? fmaxf(x, shared[warp]) : x + shared[warp];
  return x;
}

// y = x / sqrt(mean(x^2) + eps) * weight for rows of `width` values, one block of threads for each.
template <typename T> __device__ void rms_norm(const T *x, const T *weight, T *y, u32 width, float eps) {
  __shared__ float shared[32];
  const int N = Pack<T>::N;
  x += (u64)blockIdx.x * width;
  y += (u64)blockIdx.x * width;
  u32 packs = aligned(x, y) && aligned(weight, weight) ? width / N : 0;
  float sum = 0.0f;
  for (u32 i = threadIdx.x; i < packs; i += blockDim.x) {
    Pack<T> a = ((const Pack<T> *)x)[i];
    for (int j = 0; j < N; j++) sum += wide(a.at[j]) * wide(a.at[j]);
  }
  for (u32 i = packs * N + threadIdx.x; i < width; i += blockDim.x) sum += wide(x[i]) * wide(x[i]);
  float factor = rsqrtf(over_block(sum, false, shared) / width + eps);
  for (u32 i = threadIdx.x; i < packs; i += blockDim.x) {
    Pack<T> a = ((const Pack<T> *)x)[i], b = ((const Pack<T> *)weight)[i];
    for (int j = 0; j < N; j++) put(a.at[j], wide(a.at[j]) * factor * wide(b.at[j]));
    ((Pack<T> *)y)[i] = a;
  }
  for (u32 i = packs * N + threadIdx.x; i < width; i += blockDim.x) put(y[i], wide(x[i]) * factor * wide(weight[i]));
}

// Rows of `keys` scores become weights, one block of threads for each. Of them `limit` are those of keys; what is
// behind becomes zero. Row i belongs to query `i % queries`, which sees its keys up to `diagonal + i % queries`, or all of
// them where `diagonal` is negative.
template <typename T>
__device__ void softmax(T *scores, u32 keys, u32 limit, u32 queries, int diagonal, float scale) {
  __shared__ float shared[32];
  const int N = Pack<T>::N;
  T *row = scores + (u64)blockIdx.x * keys;
  u32 seen = limit;
  if (diagonal >= 0) {
    u32 last = (u32)diagonal + blockIdx.x % queries;
    if (last + 1 < seen) seen = last + 1;
  }
  const float nothing = __int_as_float(0xff800000);
  if (keys % N == 0 && keys / N <= blockDim.x && aligned(scores, scores)) {
    // One pack for each thread, which stays in its registers.
    u32 first = threadIdx.x * N;
    Pack<T> pack;
    float at[N];
    float largest = nothing;
    if (first < seen) pack = ((Pack<T> *)row)[threadIdx.x];
    for (int j = 0; j < N; j++) {
      at[j] = first + j < seen ? wide(pack.at[j]) * scale : nothing;
      largest = fmaxf(largest, at[j]);
    }
    largest = over_block(largest, true, shared);
    float sum = 0.0f;
    for (int j = 0; j < N; j++) {
      at[j] = first + j < seen ? __expf(at[j] - largest) : 0.0f;
      sum += at[j];
    }
    float inverse = 1.0f / over_block(sum, false, shared);
    if (first < keys) {
      for (int j = 0; j < N; j++) put(pack.at[j], at[j] * inverse);
      ((Pack<T> *)row)[threadIdx.x] = pack;
    }
    return;
  }
  float largest = nothing;
  for (u32 i = threadIdx.x; i < seen; i += blockDim.x) largest = fmaxf(largest, wide(row[i]));
  largest = over_block(largest, true, shared) * scale;
  float sum = 0.0f;
  for (u32 i = threadIdx.x; i < seen; i += blockDim.x) sum += __expf(wide(row[i]) * scale - largest);
  float inverse = 1.0f / over_block(sum, false, shared);
  for (u32 i = threadIdx.x; i < keys; i += blockDim.x) {
    put(row[i], i < seen ? __expf(wide(row[i]) * scale - largest) * inverse : 0.0f);
  }
}

// Rows of (heads, width), which lie `row_stride` apart in `rows`, to or from (segments, heads, padded, width) in
// `heads_first`, where what is behind `length` is zero. Row `i` of all segments one behind the other is row `order[i]`, or
// `i` where there is no order.
template <typename T, typename P>
__device__ void move_heads(T *rows, T *heads_first, const u32 *order, u32 heads, u32 length, u32 padded, u32 packs,
                           u64 row_stride, u64 count, bool back) {
  u64 step = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    // The place among the heads' values, which are written or read in order.
    u32 pack = remainder(i, packs);
    u64 rest = quotient(i, packs);
    u32 place = remainder(rest, padded);
    rest = quotient(rest, padded);
    if (place >= length) {
      if (!back) ((P *)heads_first)[i] = P{};
      continue;
    }
    u32 head = remainder(rest, heads);
    u64 row = quotient(rest, heads) * length + place;
    if (order) row = order[row];
    P *at = (P *)(rows + row * row_stride) + (u64)head * packs + pack;
    if (back) *at = ((P *)heads_first)[i];
    else ((P *)heads_first)[i] = *at;
  }
}

template <typename T>
__device__ void move_heads(T *rows, T *heads_first, const u32 *order, u32 heads, u32 length, u32 padded, u32 width,
                           u64 row_stride, u64 count, bool back) {
  const int N = Pack<T>::N;
  if (width % N == 0 && row_stride % N == 0 && aligned(rows, heads_first)) {
    move_heads<T, Pack<T>>(rows, heads_first, order, heads, length, padded, width / N, row_stride, count / N, back);
  } else {
    move_heads<T, T>(rows, heads_first, order, heads, length, padded, width, row_stride, count, back);
  }
}

#define KERNELS(T)                                                                                                    \
  extern "C" __global__ void add_##T(T *x, const T *y, u32 width, u64 count) { add(x, y, width, count); }             \
  extern "C" __global__ void activate_##T(T *x, u32 activation, u64 count) { activate(x, activation, count); }        \
  extern "C" __global__ void gated_mul_##T(T *gate, const T *up, u32 activation, u64 count) {                         \
    gated_mul(gate, up, activation, count);                                                                           \
  }                                                                                                                   \
  extern "C" __global__ void rope_##T(T *x, const T *cos, const T *sin, u32 heads, u32 half, u64 stride, u64 count) { \
    rope(x, cos, sin, heads, half, stride, count);                                                                    \
  }                                                                                                                   \
  extern "C" __global__ void rms_norm_##T(const T *x, const T *weight, T *y, u32 width, float eps) {                  \
    rms_norm(x, weight, y, width, eps);                                                                               \
  }                                                                                                                   \
  extern "C" __global__ void move_heads_##T(T *rows, T *heads_first, const u32 *order, u32 heads, u32 length,         \
                                            u32 padded, u32 width, u64 row_stride, u64 count, int back) {             \
    move_heads(rows, heads_first, order, heads, length, padded, width, row_stride, count, back != 0);                 \
  }                                                                                                                   \
  extern "C" __global__ void softmax_##T(T *scores, u32 keys, u32 limit, u32 queries, int diagonal, float scale) {    \
    softmax(scores, keys, limit, queries, diagonal, scale);                                                           \
  }

KERNELS(float)
KERNELS(bf16)
KERNELS(f16)
