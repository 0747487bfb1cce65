//! The device that numbers of the reference are computed on: the CPU, or what `GVE_TEST_DEVICE` names.

use gve::Device;
use gve_test_support::device_name;

pub(crate) fn device() -> Device {
    device_name().parse().unwrap()
}

pub(crate) fn opened_device() -> candle_core::Device {
    device().open().unwrap()
}

/// `builder` on the device, in f32 where that is not what its default stands for.
#[cfg(feature = "train")]
pub(crate) fn on_device(builder: gve::EmbedderBuilder) -> gve::EmbedderBuilder {
    match device() {
        Device::Cpu => builder.device(Device::Cpu),
        device => builder.device(device).dtype(gve::DType::F32),
    }
}
