//! What a compiler does not check about the house: its map, its edges, its modules, its size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::command::run;
use harness::source::{cycles, references};
use serde_json::Value;
use walkdir::WalkDir;

/// Longer files are two files.
const MAX_CODE_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The workspace's crates and which of each other they depend on, tests aside.
fn workspace() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let json = run(Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(root().join("Cargo.toml")))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .context("packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = packages.iter().map(&name).collect();
    let edges = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let edges = dependencies.filter(|d| d["kind"] != "dev").map(&name);
        (
            name(package),
            edges.filter(|edge| members.contains(edge)).collect(),
        )
    });
    Ok(edges.collect())
}

/// The rows under `## Crates`: a crate in backticks, and the ones it may use.
fn table() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = read("ARCHITECTURE.md")?;
    let (_, after) = text
        .split_once("\n## Crates\n")
        .context("no heading `## Crates`")?;
    let section = after.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let parse = |row: &str| {
        let mut cells = row.split('|').skip(1);
        let name = names(cells.next()?).into_iter().next()?;
        Some((name, names(cells.next()?)))
    };
    rows.map(|row| parse(row).with_context(|| format!("a strange row: {row}")))
        .collect()
}

fn sources(member: &str) -> Vec<PathBuf> {
    let dir = root().join(member);
    WalkDir::new(&dir)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn the_map_lists_every_crate_and_nothing_else() -> Result<()> {
    let (table, workspace) = (table()?, workspace()?);
    let listed: BTreeSet<_> = table.keys().collect();
    let there: BTreeSet<_> = workspace.keys().collect();
    ensure!(
        listed == there,
        "ARCHITECTURE.md lists {listed:?}, the workspace has {there:?}"
    );
    Ok(())
}

#[test]
fn no_crate_uses_another_than_the_map_allows() -> Result<()> {
    let table = table()?;
    for (name, edges) in workspace()? {
        let allowed = table.get(&name).cloned().unwrap_or_default();
        let surplus: Vec<_> = edges.difference(&allowed).collect();
        ensure!(
            surplus.is_empty(),
            "{name} depends on {surplus:?}, which ARCHITECTURE.md does not allow"
        );
    }
    Ok(())
}

#[test]
fn every_crate_inherits_the_lints() -> Result<()> {
    for name in workspace()?.keys() {
        let manifest: toml::Table = read(Path::new(name).join("Cargo.toml"))?.parse()?;
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        ensure!(
            inherits == Some(&toml::Value::Boolean(true)),
            "{name} does not inherit the lints"
        );
    }
    Ok(())
}

#[test]
fn every_outside_crate_has_a_reason() -> Result<()> {
    let text = read("Cargo.toml")?;
    let (_, after) = text
        .split_once("[workspace.dependencies]\n")
        .context("no dependencies")?;
    let section = after.split("\n[").next().unwrap_or_default();
    for line in section
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains("path = "))
    {
        ensure!(line.contains("# "), "why is this here? {line}");
    }
    Ok(())
}

#[test]
fn no_two_modules_use_each_other() -> Result<()> {
    let mut found = Vec::new();
    for name in workspace()?.keys() {
        let src = root()
            .join(name)
            .join(if name == "tests" { "harness" } else { "src" });
        found.extend(
            cycles(&src)?
                .into_iter()
                .map(|cycle| format!("{name}: {cycle}")),
        );
    }
    ensure!(
        found.is_empty(),
        "modules that use each other:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn the_search_for_cycles_finds_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text);
    fs::create_dir(dir.path().join("inner"))?;
    write("lib.rs", "mod a; mod b; mod inner;")?;
    write("a.rs", "use crate::{b::B, inner};")?;
    write(
        "b.rs",
        "pub struct B; // crate::a\n#[cfg(test)]\nmod tests { use crate::a; }",
    )?;
    write("inner/mod.rs", "mod x; mod y;")?;
    write("inner/x.rs", "fn f() { super::y::g() }")?;
    write("inner/y.rs", "pub fn g() { let _ = \"super::x\"; }")?;
    ensure!(cycles(dir.path())?.is_empty(), "{:?}", cycles(dir.path())?);
    write("b.rs", "use crate::a;")?;
    write("inner/y.rs", "use super::{x, y as z};")?;
    let found = cycles(dir.path())?;
    ensure!(found == ["a <-> b", "inner::x <-> inner::y"], "{found:?}");
    let all = references("use crate::{a::{self, B}, c::*}; crate::d::E");
    ensure!(
        all == [
            "crate::a::self",
            "crate::a::B",
            "crate::c::*",
            "crate::d::E"
        ],
        "{all:?}"
    );
    Ok(())
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is() -> Result<()> {
    let mut wrong = Vec::new();
    for name in workspace()?.keys() {
        for path in sources(name) {
            let text = fs::read_to_string(&path)?;
            let code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
            let lines = text.lines().filter(code).count();
            if lines > MAX_CODE_LINES {
                wrong.push(format!("{} has {lines} lines of code", path.display()));
            }
            if !text.starts_with("//! ") {
                wrong.push(format!("{} does not say what it is", path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_changelog_has_legal_headings() -> Result<()> {
    const KINDS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let text = read("CHANGELOG.md")?;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("### ") {
            ensure!(KINDS.contains(&kind), "{line}");
        } else if let Some(version) = line.strip_prefix("## ") {
            let is_release = version
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("] - "));
            let is_dated = is_release.is_some_and(|(number, date)| {
                number.split('.').count() == 3 && date.len() == 10 && date.split('-').count() == 3
            });
            ensure!(version == "[Unreleased]" || is_dated, "{line}");
        }
    }
    ensure!(
        text.contains("## [Unreleased]"),
        "no place for the next entry"
    );
    Ok(())
}

/// What a crate links, with the features it asks for: one line each.
fn links(package: &str) -> Result<BTreeSet<String>> {
    let edges = "normal,build,features";
    let tree = run(Command::new(env!("CARGO")).current_dir(root()).args([
        "tree",
        "--offline",
        "--package",
        package,
        "--edges",
        edges,
        "--prefix",
        "none",
    ]))?;
    let forbidden = [
        "axum v",
        "daemon v",
        "fuse v",
        "layer v",
        "nix v",
        "tonic feature \"router\"",
        "tonic feature \"server\"",
    ];
    let found = forbidden
        .iter()
        .filter(|entry| tree.lines().any(|line| line.starts_with(**entry)));
    Ok(found.map(|entry| (*entry).to_owned()).collect())
}

#[test]
fn the_index_tool_links_no_server_and_nothing_that_only_linux_has() -> Result<()> {
    ensure!(links("cli")?.is_empty(), "cli links {:?}", links("cli")?);
    // The same search finds all of them where they are.
    ensure!(links("daemon")?.len() == 7, "{:?}", links("daemon")?);
    Ok(())
}
