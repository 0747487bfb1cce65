use candle_core::{DType, Device};

/// The precision of weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightPrecision {
    /// This one. On processors that multiply bf16, activations that meet bf16 weights are rounded to bf16.
    As(DType),
    /// Each tensor as its file has it, and everything is computed in f32: the results are those of weights in
    /// f32, in the memory of the file. What a file has in int8 is used as by `Int8`. For the CPU only.
    Stored,
    /// Linear layers in int8 with a scale per output, the rest as its file has it; activations that meet int8
    /// are rounded to int8, with a scale for every 256 values, and results are f32. For the CPU only.
    Int8,
}

impl From<DType> for WeightPrecision {
    fn from(dtype: DType) -> Self {
        Self::As(dtype)
    }
}

/// That of a setting on the CPU.
impl From<super::DType> for WeightPrecision {
    fn from(dtype: super::DType) -> Self {
        dtype.weights_on(&Device::Cpu)
    }
}

impl WeightPrecision {
    /// The name of what is computed in: of the precision of results, or `int8`.
    pub fn arithmetic_name(self) -> &'static str {
        if self == Self::Int8 { "int8" } else { self.arithmetic().as_str() }
    }

    /// The precision that results have.
    pub(crate) fn arithmetic(self) -> DType {
        match self {
            Self::As(dtype) => dtype,
            Self::Stored | Self::Int8 => DType::F32,
        }
    }
}
