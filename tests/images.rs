//! Makes every test image and its indices, or those that are named, so that nothing has to wait for that.

use harness::image::{Form, Image, build_all};

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        return build_all();
    }
    names
        .iter()
        .try_for_each(|name| Image::get(name, Form::V2).map(drop))
}
