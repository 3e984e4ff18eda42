//! What nerdctl asks of a `soci` command, word for word, is done; without nerdctl.

use anyhow::{Context as _, Result, ensure};
use harness::containerd::{Containerd, Flavor};
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::stack::machine;

/// The pipe that nerdctl reads last holds this much; who writes more waits for ever.
const PIPE: usize = 64 << 10;

struct Setting {
    // In the order in which they must go.
    containerd: Containerd,
    registry: Distribution,
    soci: Soci,
    scratch: Scratch,
    name: String,
}

impl Setting {
    fn new() -> Result<Self> {
        let image = Image::get("python", Form::Plain)?;
        let scratch = Scratch::in_memory()?;
        let registry = Distribution::start(&scratch.path().join("registry"))?;
        let containerd = Containerd::start(&scratch.path().join("c"), Flavor::Transfer, None)?;
        let name = registry.reference("python");
        let base = name.strip_suffix(":latest").context("a tag")?;
        containerd.import(base, &image.layout)?;
        // nerdctl has pushed the image before.
        containerd.run_ctr(&["images", "push", "--plain-http", &name])?;
        let soci = Soci::new(scratch.path())?;
        Ok(Self {
            containerd,
            registry,
            soci,
            scratch,
            name,
        })
    }

    /// One command as nerdctl puts it together: global flags first.
    fn run(&self, command: &[&str]) -> Result<String> {
        let address = self.containerd.socket().display().to_string();
        let root = self.scratch.path().join("root").display().to_string();
        let global = [
            "--root",
            &root,
            "--address",
            &address,
            "--namespace",
            "default",
        ];
        let ended = self.soci.run(&[&global, command].concat())?;
        ensure!(
            ended.code == 0 && ended.stderr.len() < PIPE,
            "{command:?}: {ended:#?}"
        );
        let long = ended.stdout.lines().find(|line| line.len() >= PIPE);
        ensure!(long.is_none(), "a line that nerdctl cannot read: {long:?}");
        ensure!(
            !ended.stdout.contains(['\r', '\u{1b}']),
            "a bar in a pipe: {ended:?}"
        );
        Ok(ended.stdout)
    }
}

#[test]
fn the_version_is_one_that_may_convert() -> Result<()> {
    let scratch = Scratch::in_memory()?;
    let said = Soci::new(scratch.path())?.done(&["--version"])?;
    let numbers = said
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .find(|word| {
            word.split('.')
                .filter(|part| part.parse::<u32>().is_ok())
                .count()
                == 3
        });
    let mut parts = numbers.context("no version")?.split('.');
    let [major, minor] = [parts.next(), parts.next()].map(|part| part?.parse::<u32>().ok());
    ensure!((major, minor) >= (Some(0), Some(10)), "{said}");
    Ok(())
}

#[test]
fn an_image_pushed_with_the_snapshotter_soci_gets_an_index() -> Result<()> {
    let _machine = machine();
    let setting = Setting::new()?;
    let name = setting.name.as_str();
    let create = [
        "create",
        "--span-size",
        "1048576",
        "--min-layer-size",
        "1000",
        name,
    ];
    let said = setting.run(&create)?;
    ensure!(said.matches(" -> ztoc ").count() == 3, "{said}");
    let said = setting.run(&[
        "create",
        "--platform",
        "linux/amd64",
        "--platform",
        "linux/amd64",
        name,
    ])?;
    ensure!(said.contains("layer "), "{said}");
    let hosts = "/etc/containerd/certs.d,/etc/docker/certs.d";
    let push = [
        "push",
        "--skip-verify",
        "--plain-http",
        "--hosts-dir",
        hosts,
        name,
    ];
    let said = setting.run(&push)?;
    for line in [
        "checking if a soci index already exists in remote repository...",
        "pushing soci index with digest: sha256:",
        "pushing artifact with digest: sha256:",
    ] {
        ensure!(said.contains(line), "{line} is not in {said}");
    }
    let said = setting.run(&["push", "--all-platforms", "--hosts-dir", hosts, name])?;
    ensure!(
        said.contains("skipped artifact with digest: sha256:"),
        "{said}"
    );
    let verified = setting.soci.done(&["verify", name])?;
    ensure!(verified.contains("checked 1 index(es)"), "{verified}");
    Ok(())
}

#[test]
fn an_image_converted_for_soci_is_named_in_containerd() -> Result<()> {
    let _machine = machine();
    let setting = Setting::new()?;
    let name = setting.name.as_str();
    let converted = format!("{}/python:converted", setting.registry.address());
    for flags in [
        &[
            "--all-platforms",
            "--span-size",
            "1048576",
            "--min-layer-size",
            "1000",
        ][..],
        &["--platform", "linux/amd64"],
        &[],
    ] {
        let said = setting.run(&[&["convert"], flags, &[name, &converted]].concat())?;
        let digest = said.lines().last().context("no digest")?;
        let images = setting.containerd.run_ctr(&["images", "ls"])?;
        let record = images.lines().find(|line| line.starts_with(&converted));
        ensure!(
            record.is_some_and(|record| record.contains(digest)),
            "{images}{said}"
        );
    }
    setting
        .containerd
        .run_ctr(&["images", "push", "--plain-http", &converted])?;
    setting.soci.done(&["verify", &converted])?;
    Ok(())
}
