//! The device that numbers of the reference are computed on: the CPU, or what `GVE_TEST_DEVICE` names.

use gve::{DType, Device};
use gve_test_support::device_name;

pub(crate) fn device() -> Device {
    device_name().parse().unwrap()
}

/// The precisions beside f32 that there are on the device.
pub(crate) fn rounded_dtypes() -> Vec<DType> {
    let int8 = (device() == Device::Cpu).then_some(DType::Int8);
    [DType::Bf16, DType::F16].into_iter().chain(int8).collect()
}

pub(crate) fn opened_device() -> candle_core::Device {
    device().open().unwrap()
}

/// `builder` on the device, in f32 where that is not what its default stands for.
#[cfg(feature = "train")]
pub(crate) fn on_device(builder: gve::EmbedderBuilder) -> gve::EmbedderBuilder {
    match device() {
        Device::Cpu => builder.device(Device::Cpu),
        device => builder.device(device).dtype(DType::F32),
    }
}
