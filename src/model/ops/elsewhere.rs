//! For tests: the bodies made of tensor expressions, tried on a device and in a precision, beside the kernels of
//! the CPU in f32.

use candle_core::{DType, Device, Tensor};

/// Where tensor expressions are tried.
pub(in crate::model) struct Elsewhere {
    device: Device,
    pub(in crate::model) dtype: DType,
}

/// Each precision that activations can have, on the CPU or on the device that `GVE_TEST_DEVICE` names.
pub(in crate::model) fn elsewhere() -> impl Iterator<Item = Elsewhere> {
    let name = std::env::var("GVE_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = name.parse::<crate::device::Device>().unwrap().open().unwrap();
    [DType::F32, DType::BF16, DType::F16].map(|dtype| Elsewhere { device: device.clone(), dtype }).into_iter()
}

impl Elsewhere {
    pub(in crate::model) fn is_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// `x` there; a graph goes on through it.
    pub(in crate::model) fn there(&self, x: &Tensor) -> Tensor {
        x.to_device(&self.device).unwrap().to_dtype(self.dtype).unwrap()
    }

    /// `x` back on the CPU, in f32.
    pub(in crate::model) fn here(&self, x: &Tensor) -> Tensor {
        x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
    }

    /// That `found` is `expected`: every value to within `exact` in f32, twice that on a GPU, which adds in another
    /// order, and in half precision as a whole to within a few roundings.
    pub(in crate::model) fn assert_near(&self, found: &Tensor, expected: &Tensor, exact: f32, what: &str) {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let difference = (found - expected).unwrap();
        let scalar = |x: Tensor| x.to_scalar::<f32>().unwrap();
        let norm = |x: &Tensor| scalar(x.sqr().unwrap().sum_all().unwrap()).sqrt();
        let (off, limit) = match self.dtype {
            DType::F32 => (
                scalar(difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap()),
                if self.is_cpu() { exact } else { 2.0 * exact },
            ),
            DType::BF16 => (norm(&difference) / norm(expected), 0.02),
            _ => (norm(&difference) / norm(expected), 0.003),
        };
        println!("{what}: {:?} on {:?}: off by {off:.1e}", self.dtype, self.device.location());
        // Not a number is not near.
        assert!(off <= limit, "{what} in {:?}: off by {off}, at most {limit} is right", self.dtype);
    }
}
