//! `soci push` and what `create` and `convert` refuse: which index goes to a registry, and what is not done halfway.

use anyhow::{Context as _, Result, ensure};
use harness::certificate::Certificate;
use harness::containerd::{Containerd, Flavor};
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::scratch::Scratch;
use harness::soci::Soci;
use harness::stack::machine;
use serde_json::Value;

struct Setting<'a> {
    containerd: &'a Containerd,
    registry: &'a Distribution,
    soci: &'a Soci,
    image: &'a Image,
    /// In the registry and in containerd.
    name: &'a str,
}

fn check(test: impl FnOnce(&Setting<'_>) -> Result<()>) -> Result<()> {
    let _machine = machine();
    let image = Image::get("odd", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let registry = Distribution::start(&scratch.path().join("registry"))?;
    registry.push("odd", &image.layout)?;
    let containerd = Containerd::start(&scratch.path().join("c"), Flavor::Transfer, None)?;
    let name = registry.reference("odd");
    containerd.import(name.trim_end_matches(":latest"), &image.layout)?;
    let soci = Soci::with_containerd(scratch.path(), &containerd)?;
    let setting = Setting {
        containerd: &containerd,
        registry: &registry,
        soci: &soci,
        image: &image,
        name: &name,
    };
    test(&setting).with_context(|| containerd.log())
}

/// The digests of the indexes that the registry has of the image.
fn remote(setting: &Setting<'_>) -> Result<Vec<String>> {
    let report = setting.soci.done(&["verify", "--json", setting.name])?;
    let report: Value = serde_json::from_str(&report)?;
    let indexes = report.get("indexes").and_then(Value::as_array);
    let indexes = indexes.context("no indexes")?.iter();
    Ok(indexes
        .filter_map(|digest| digest.as_str().map(str::to_owned))
        .collect())
}

#[test]
fn the_index_built_last_is_the_one_that_is_pushed() -> Result<()> {
    check(|setting| {
        let (soci, name) = (setting.soci, setting.name);
        let create = ["create", "--min-layer-size=0", name];
        soci.done(&[&create[..], &["--span-size=1048576"]].concat())?;
        let first = soci.done(&["index", "list", "-q"])?;
        soci.done(&[&create[..], &["--span-size=2097152"]].concat())?;
        let both = soci.done(&["index", "list", "-q"])?;
        let last = both.lines().find(|digest| *digest != first.trim());
        let last = last.with_context(|| format!("one index only: {both}"))?;
        let said = soci.done(&["push", name])?;
        ensure!(
            said.contains(&format!("pushing soci index with digest: {last}\n")),
            "{said}"
        );
        ensure!(
            remote(setting)? == [last],
            "{:?} are there, not {last}",
            remote(setting)?
        );
        Ok(())
    })
}

#[test]
fn an_index_that_is_there_already_is_warned_of_skipped_or_not_looked_for() -> Result<()> {
    check(|setting| {
        let (soci, name) = (setting.soci, setting.name);
        soci.done(&["create", "--min-layer-size=0", "--span-size=1048576", name])?;
        let push = |existing: &str| -> Result<(String, usize)> {
            let before = setting.registry.writes().len();
            let said = soci.done(&["push", "--existing-index", existing, name])?;
            Ok((said, setting.registry.writes().len() - before))
        };
        let (said, writes) = push("skip")?;
        ensure!(
            writes > 0 && !said.contains("skipping"),
            "nothing was there: {said}"
        );
        let (said, writes) = push("skip")?;
        ensure!(
            writes == 0 && said.contains("skipping pushing artifacts"),
            "{said}"
        );
        soci.done(&["create", "--min-layer-size=0", "--span-size=2097152", name])?;
        let (said, writes) = push("skip")?;
        ensure!(
            writes == 0 && said.contains("skipping pushing artifacts"),
            "{said}"
        );
        let (said, writes) = push("warn")?;
        ensure!(
            writes > 0 && said.contains("[WARN] soci index found"),
            "{said}"
        );
        ensure!(remote(setting)?.len() == 2, "{:?}", remote(setting)?);
        let (said, _) = push("warn")?;
        ensure!(
            said.contains("[WARN] multiple soci indices found"),
            "{said}"
        );
        let (said, writes) = push("allow")?;
        ensure!(
            writes == 0 && !said.contains("checking if a soci index"),
            "{said}"
        );
        Ok(())
    })
}

#[test]
fn an_image_whose_content_is_gone_is_named_and_not_converted() -> Result<()> {
    check(|setting| {
        let layer = setting.image.layers()?.swap_remove(0).digest;
        setting.containerd.run_ctr(&["content", "rm", &layer])?;
        let target = "localhost/converted:1";
        let convert = ["convert", "--min-layer-size=0", setting.name, target];
        let ended = setting.soci.run(&convert)?;
        ensure!(
            ended.code == 1 && ended.stderr.contains(&layer),
            "{ended:#?}"
        );
        let images = setting.containerd.run_ctr(&["images", "ls", "-q"])?;
        ensure!(!images.contains(target), "{images}");
        let none = setting.soci.refused(1, &["create", "localhost/none:1"])?;
        ensure!(none.contains("localhost/none:1"), "{none}");
        Ok(())
    })
}

#[test]
fn sizes_that_are_none_are_wrong_usage() -> Result<()> {
    check(|setting| {
        for flag in ["span-size", "min-layer-size"] {
            for value in ["-1", "9223372036854775808000", "many"] {
                let flag = format!("--{flag}={value}");
                let ended = setting.soci.run(&["create", &flag, setting.name])?;
                ensure!(
                    ended.code == 2 && !ended.stderr.is_empty(),
                    "{flag}: {ended:#?}"
                );
            }
        }
        ensure!(
            setting.soci.done(&["ztoc", "list", "-q"])?.is_empty(),
            "something was built"
        );
        Ok(())
    })
}

#[test]
fn files_to_be_loaded_first_are_found_by_name_directory_and_pattern() -> Result<()> {
    check(|setting| {
        let create = |path: &str| {
            let flag = format!("--prefetch-file={path}");
            setting
                .soci
                .run(&["create", "--min-layer-size=0", &flag, setting.name])
        };
        let artifact = |path: &str| -> Result<String> {
            let ended = create(path)?;
            let line = ended
                .stdout
                .lines()
                .find(|line| line.contains("prefetch artifact"));
            let line = line.with_context(|| format!("{path}: {ended:#?}"))?;
            Ok(line.to_owned())
        };
        let named = artifact("usr/lib/os-release")?;
        ensure!(
            artifact("/usr/lib/os-release")? == named,
            "absolute names differ"
        );
        ensure!(artifact("/usr/lib/os-rel*")? == named, "patterns differ");
        ensure!(artifact("/usr/lib")? != named, "a directory is one file");
        let missing = create("/no/such/file")?;
        ensure!(
            missing.code == 1 && missing.stderr.contains("no/such/file"),
            "{missing:#?}"
        );
        Ok(())
    })
}

#[test]
fn a_registry_with_tls_is_believed_by_its_authority_or_on_request_only() -> Result<()> {
    let image = Image::get("tiny", Form::Plain)?;
    let scratch = Scratch::in_memory()?;
    let certificate = Certificate::make(&scratch.path().join("certificate"))?;
    let registry = Distribution::start_tls(&scratch.path().join("registry"), &certificate)?;
    let soci = Soci::new(scratch.path())?;
    let source = format!("oci:{}", image.layout.dir().display());
    // Loopback addresses may go without TLS, and are asked without it next.
    let target = format!("0.0.0.0:{}/tiny:1", registry.address().port());
    let publish = ["publish", "--min-layer-size=0", &source, &target];
    let said = soci.refused(1, &publish)?;
    ensure!(said.contains("certificate"), "{said}");
    ensure!(registry.writes().is_empty(), "{:?}", registry.writes());
    let authority = certificate.authority.display().to_string();
    soci.done(&[&publish[..], &["--tlscacert", &authority]].concat())?;
    soci.refused(1, &["verify", &target])?;
    soci.done(&["verify", "--skip-verify", &target])?;
    Ok(())
}
