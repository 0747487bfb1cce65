//! Where the model runs, in which precision, and in how much memory. The only place that knows of CUDA and
//! Metal.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod memory;
mod precision;

pub use precision::WeightPrecision;

/// A compute device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The first CUDA or Metal device this build and machine offer, otherwise the CPU.
    #[default]
    Auto,
    /// The processor, on all cores.
    Cpu,
    /// An NVIDIA GPU by its ordinal; needs the feature `cuda`.
    Cuda(usize),
    /// An Apple GPU; needs the feature `metal`.
    Metal,
}

/// The precision of weights, and off the CPU of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DType {
    /// On the CPU f32 with the weights held as the checkpoint has them, which takes no more memory than its
    /// files and gives what f32 gives; bf16 on a GPU.
    #[default]
    Auto,
    /// 32-bit floating point.
    F32,
    /// bfloat16: half the memory, 8 bits of precision.
    Bf16,
    /// IEEE half precision.
    F16,
    /// 8-bit integers in linear layers, for the CPU: a quarter of the memory of f32. What is not in a linear
    /// layer is held as the checkpoint has it.
    Int8,
}

/// A device that cannot be had, or a name that means none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device is not compiled in, absent or out of order.
    #[error("device {device} is not available: {reason}")]
    Unavailable {
        /// The device asked for.
        device: Device,
        /// Why it cannot be used.
        reason: String,
    },
    /// A precision that the CPU alone computes in.
    #[error("dtype {dtype} is for the CPU, not for device {device}: use bf16 there, or device cpu")]
    CpuOnly {
        /// The device asked for.
        device: Device,
        /// The precision asked for.
        dtype: DType,
    },
    /// Not the name of a device.
    #[error("unknown device `{0}`: expected auto, cpu, cuda, cuda:N or metal")]
    UnknownDevice(String),
    /// Not the name of a precision.
    #[error("unknown dtype `{0}`: expected auto, f32, bf16, f16 or int8")]
    UnknownDType(String),
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`], saying why.
    pub fn open(self) -> Result<candle_core::Device, DeviceError> {
        match self {
            Self::Auto => Ok(Self::best()),
            Self::Cpu => Ok(candle_core::Device::Cpu),
            Self::Cuda(_) if !candle_core::utils::cuda_is_available() => {
                Err(self.unavailable("this build has no CUDA support (build with `--features cuda`)"))
            }
            Self::Cuda(ordinal) => {
                let device = candle_core::Device::new_cuda(ordinal).map_err(|e| self.unavailable(e))?;
                track_no_events(&device);
                Ok(device)
            }
            Self::Metal if !candle_core::utils::metal_is_available() => {
                Err(self.unavailable("this build has no Metal support (build with `--features metal`)"))
            }
            Self::Metal => candle_core::Device::new_metal(0).map_err(|e| self.unavailable(e)),
        }
    }

    /// Opens the device for weights in `dtype`. [`DType::Int8`] has [`Device::Auto`] mean the CPU.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a GPU that is to hold int8.
    pub fn open_for(self, dtype: DType) -> Result<candle_core::Device, DeviceError> {
        match (self, dtype) {
            (Self::Auto, DType::Int8) => Ok(candle_core::Device::Cpu),
            (Self::Cuda(_) | Self::Metal, DType::Int8) => Err(DeviceError::CpuOnly { device: self, dtype }),
            _ => self.open(),
        }
    }

    /// A compiled-in GPU that opens, otherwise the CPU. A GPU build on a machine without one is
    /// an ordinary case, so failing to open it is not an error here.
    fn best() -> candle_core::Device {
        let gpus = [
            (candle_core::utils::cuda_is_available(), Self::Cuda(0)),
            (candle_core::utils::metal_is_available(), Self::Metal),
        ];
        gpus.into_iter()
            .filter(|(compiled, _)| *compiled)
            .find_map(|(_, gpu)| gpu.open().ok())
            .unwrap_or(candle_core::Device::Cpu)
    }

    fn unavailable(self, reason: impl fmt::Display) -> DeviceError {
        // The driver's messages can span lines.
        let reason = reason.to_string().lines().next().unwrap_or_default().to_owned();
        DeviceError::Unavailable { device: self, reason }
    }
}

/// Has the driver record no events with each operation on a CUDA device, which takes as long as starting a small one.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
fn track_no_events(device: &candle_core::Device) {
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(cuda) = device {
        // SAFETY: all that is computed on this device goes over its one stream, in order.
        #[allow(unsafe_code)]
        unsafe {
            cuda.disable_event_tracking();
        }
    }
}

impl DType {
    /// The precision of results on `device`: what [`DType::Auto`] stands for there.
    pub fn on(self, device: &candle_core::Device) -> candle_core::DType {
        match self {
            Self::Auto if device.is_cpu() => candle_core::DType::F32,
            Self::Auto | Self::Bf16 => candle_core::DType::BF16,
            Self::F32 | Self::Int8 => candle_core::DType::F32,
            Self::F16 => candle_core::DType::F16,
        }
    }
}

impl DType {
    /// How weights are held on `device`.
    pub fn weights_on(self, device: &candle_core::Device) -> WeightPrecision {
        match self {
            Self::Auto if device.is_cpu() => WeightPrecision::Stored,
            Self::Int8 => WeightPrecision::Int8,
            _ => WeightPrecision::As(self.on(device)),
        }
    }
}

/// Bytes of memory that this process can still get, as far as the system tells (Linux): what is free or can
/// be freed, swap included, within the limits of its control groups.
pub fn available_memory() -> Option<u64> {
    memory::available(Path::new("/"))
}

/// The memory that this process had at the most since a moment, where the system tells (Linux). Another
/// measurement that begins meanwhile ends this one.
#[derive(Debug, Clone, Copy)]
#[cfg(feature = "train")]
pub(crate) struct PeakMemory {
    resident_bytes: u64,
}

#[cfg(feature = "train")]
impl PeakMemory {
    /// From now on.
    pub(crate) fn begin() -> Option<Self> {
        memory::forget_peak(Path::new("/"))?;
        Some(Self { resident_bytes: memory::resident(Path::new("/"), "VmRSS:")? })
    }

    /// What there was when it began.
    pub(crate) fn resident_bytes(self) -> u64 {
        self.resident_bytes
    }

    /// The most since then.
    pub(crate) fn peak_bytes(self) -> Option<u64> {
        memory::resident(Path::new("/"), "VmHWM:")
    }
}

/// Has settings files spell a type as its `FromStr` and `Display` do.
macro_rules! spelled {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

spelled!(Device);
spelled!(DType);

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::UnknownDevice(name.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DType {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(DeviceError::UnknownDType(name.to_owned())),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_typos_are_errors() {
        for name in ["auto", "cpu", "cuda:3", "metal"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        assert!(Device::Auto.open_for(DType::Int8).unwrap().is_cpu());
        let refused = Device::Cuda(0).open_for(DType::Int8).unwrap_err();
        assert!(refused.to_string().contains("int8 is for the CPU, not for device cuda:0"), "{refused}");
        for name in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(name.parse::<Device>().unwrap_err().to_string().contains("expected"));
        }
        for name in ["auto", "f32", "bf16", "f16", "int8"] {
            assert_eq!(name.parse::<DType>().unwrap().to_string(), name);
        }
        assert!("int4".parse::<DType>().is_err());
    }
}
