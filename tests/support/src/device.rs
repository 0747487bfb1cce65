/// The device that tests of the reference's numbers run on, as `--device` spells it: `GVE_TEST_DEVICE`, or the CPU.
pub fn device_name() -> String {
    std::env::var("GVE_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}
