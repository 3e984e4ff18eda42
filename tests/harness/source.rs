//! Which modules of a crate use which, read from the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;
use walkdir::WalkDir;

/// Pairs of sibling modules that use each other, at any depth of the crate at `src`; tests do not count.
pub fn cycles(src: &Path) -> Result<Vec<String>> {
    let modules = modules(src)?;
    let known: BTreeSet<&Vec<String>> = modules.keys().collect();
    // Parent path and two of its children: the first uses the second.
    let mut edges: BTreeMap<Vec<String>, BTreeSet<(String, String)>> = BTreeMap::new();
    for (module, text) in &modules {
        for reference in references(text) {
            let Some(target) = resolve(module, &reference, &known) else {
                continue;
            };
            let common = module
                .iter()
                .zip(&target)
                .take_while(|(a, b)| a == b)
                .count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let parent = module.iter().take(common).cloned().collect();
                edges
                    .entry(parent)
                    .or_default()
                    .insert((from.clone(), to.clone()));
            }
        }
    }
    let mut found = Vec::new();
    for (parent, uses) in &edges {
        for (from, to) in uses {
            if from < to && reaches(uses, from, to) && reaches(uses, to, from) {
                let name = |last: &String| {
                    let path: Vec<&str> = parent.iter().chain([last]).map(String::as_str).collect();
                    path.join("::")
                };
                found.push(format!("{} <-> {}", name(from), name(to)));
            }
        }
    }
    Ok(found)
}

fn reaches(uses: &BTreeSet<(String, String)>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for (_, next) in uses.iter().filter(|(user, _)| user == at) {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

/// The text of each module by its path, without comments, strings and test modules. The root is not one.
fn modules(src: &Path) -> Result<BTreeMap<Vec<String>, String>> {
    let mut modules = BTreeMap::new();
    for found in WalkDir::new(src) {
        let path = found?.into_path();
        let relative = path.strip_prefix(src)?.with_extension("");
        let mut names: Vec<String> = relative
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        if names.last().is_some_and(|last| last == "mod") {
            names.pop();
        }
        let is_root = names.len() == 1 && names.iter().any(|name| name == "lib" || name == "main");
        let is_test = names.iter().any(|name| name == "tests");
        if !is_root && !is_test {
            modules.insert(names, without_tests(&code(&fs::read_to_string(&path)?)));
        }
    }
    Ok(modules)
}

/// The longest known module that a path leads to.
fn resolve(module: &[String], path: &str, known: &BTreeSet<&Vec<String>>) -> Option<Vec<String>> {
    let mut base: Vec<String> = Vec::new();
    let mut rest = path.split("::").peekable();
    match rest.next()? {
        "crate" => {}
        "self" => base = module.to_vec(),
        _ => {
            base = module.to_vec();
            base.pop();
            while rest.peek() == Some(&"super") {
                rest.next();
                base.pop();
            }
        }
    }
    let mut target = None;
    for part in rest {
        base.push(part.to_owned());
        if known.contains(&base) {
            target = Some(base.clone());
        }
    }
    target
}

/// Every path that starts at `crate`, `super` or `self`, groups spelt out.
pub fn references(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let starts = ["crate::", "super::", "self::"]
            .iter()
            .any(|start| rest.starts_with(start));
        if starts && !before.is_alphanumeric() && before != '_' && before != ':' && before != '$' {
            rest = tree(rest, "", &mut found);
            before = ' ';
        } else {
            before = first;
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    found
}

/// Reads one use tree after `prefix`; returns what follows it.
fn tree<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let after = tree(rest, prefix, found).trim_start();
            let after = after.strip_prefix("as ").map_or(after, |alias| {
                alias
                    .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                    .trim_start()
            });
            let after = after.strip_prefix(',').unwrap_or(after);
            if after.len() == rest.len() {
                return after;
            }
            rest = after;
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = format!("{prefix}{name}");
    match rest.trim_start().strip_prefix("::") {
        Some(after) if !name.is_empty() => tree(after, &format!("{path}::"), found),
        _ => {
            found.push(path);
            rest
        }
    }
}

/// The text with comments and the content of strings blanked out.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if in_string => {
                    chars.next();
                }
                '"' => {
                    in_string = !in_string;
                    out.push(' ');
                }
                '/' if !in_string && chars.peek() == Some(&'/') => break,
                _ if in_string => {}
                c => out.push(c),
            }
        }
        out.push('\n');
    }
    out
}

/// The text before the test module, which house style puts last.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .to_owned()
}
