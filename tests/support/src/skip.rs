/// Says why a test, or a part of one, cannot run here. Where every test has to run (`GVE_REQUIRE_ALL=1`), it
/// fails instead.
///
/// # Panics
/// Where `GVE_REQUIRE_ALL` is 1.
pub fn skip(reason: &str) {
    let reason = reason.lines().next().unwrap_or("unknown reason");
    assert!(std::env::var("GVE_REQUIRE_ALL").as_deref() != Ok("1"), "cannot run: {reason}");
    eprintln!("skipped: {reason}");
}
