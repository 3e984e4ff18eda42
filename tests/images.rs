//! Makes every test image and its indices, so that no test has to wait for that.

fn main() -> anyhow::Result<()> {
    harness::image::build_all()
}
