//! What the store keeps, against a model of containerd's and across trouble with the disk.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use daemon::error::Error;
use daemon::filter::Filter;
use daemon::layers::Usage;
use daemon::status;
use daemon::store::{Backing, Committed, Kind, Labels, Store};
use proptest::prelude::*;
use tonic::Code;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn create(store: &Store, kind: Kind, key: &str, parent: Option<&str>) -> Result<(), Error> {
    store
        .create(store.reserve(), kind, key, parent, Labels::new())
        .map(drop)
}

fn commit(store: &Store, key: &str, name: &str, parent: Option<&str>) -> Result<(), Error> {
    let committed = Committed {
        name,
        parent,
        labels: Labels::new(),
        usage: Usage {
            inodes: 1,
            bytes: 2,
        },
        backing: Backing::Plain,
    };
    store.commit(key, committed).map(drop)
}

fn all(store: &Store) -> Vec<(String, Kind, Option<String>)> {
    let records = store.select(&Filter::parse(&[]).unwrap()).unwrap();
    records
        .into_iter()
        .map(|record| (record.key, record.kind, record.parent))
        .collect()
}

/// `update` of a snapshot labelled a=1, b=2.
fn check_update(given: &[(&str, &str)], paths: &[&str], expected: Option<&[(&str, &str)]>) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("db")).unwrap();
    let before = labels(&[("a", "1"), ("b", "2")]);
    store
        .create(store.reserve(), Kind::Active, "k", None, before.clone())
        .unwrap();
    let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
    let result = store.update("k", &labels(given), &paths);
    let after = store.get("k").unwrap();
    match expected {
        Some(expected) => {
            assert_eq!(result.unwrap(), after);
            assert_eq!(after.labels, labels(expected), "{paths:?}");
            assert!(after.updated > after.created);
        }
        None => {
            let code = status::code(&result.unwrap_err());
            assert_eq!(code, Code::InvalidArgument, "{paths:?}");
            assert_eq!(after.labels, before, "nothing or all");
        }
    }
}

#[test]
fn labels_change_as_the_mask_says() {
    check_update(&[("c", "3")], &[], Some(&[("c", "3")]));
    check_update(&[("c", "3")], &["labels"], Some(&[("c", "3")]));
    check_update(
        &[("a", "9"), ("c", "3")],
        &["labels.a"],
        Some(&[("a", "9"), ("b", "2")]),
    );
    check_update(&[], &["labels.a"], Some(&[("b", "2")]));
    check_update(&[("a", "")], &["labels.a"], Some(&[("b", "2")]));
    check_update(
        &[("x.y/z", "3")],
        &["labels.x.y/z", "labels.b"],
        Some(&[("a", "1"), ("x.y/z", "3")]),
    );
    check_update(&[("a", "9")], &["labels.a", "kind"], None);
    check_update(&[("a", "9")], &["parent"], None);
    check_update(&[("a", "9")], &["labels.a", "name"], None);
    check_update(&[("a", "9")], &["label"], None);
}

#[test]
fn a_committed_snapshot_has_the_labels_it_was_committed_with() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("db")).unwrap();
    store
        .create(
            store.reserve(),
            Kind::Active,
            "k",
            None,
            labels(&[("a", "1")]),
        )
        .unwrap();
    let committed = Committed {
        name: "n",
        parent: None,
        labels: labels(&[("b", "2"), ("empty", "")]),
        usage: Usage {
            inodes: 3,
            bytes: 4,
        },
        backing: Backing::Remote,
    };
    store.commit("k", committed).unwrap();
    let record = store.get("n").unwrap();
    assert_eq!(record.labels, labels(&[("b", "2")]));
    assert_eq!(
        record.usage,
        Usage {
            inodes: 3,
            bytes: 4
        }
    );
    assert_eq!(record.backing, Backing::Remote);
}

#[test]
fn a_snapshot_without_parent_can_be_committed_onto_one() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("db")).unwrap();
    create(&store, Kind::Active, "base-key", None).unwrap();
    commit(&store, "base-key", "base", None).unwrap();
    create(&store, Kind::Active, "k", None).unwrap();
    commit(&store, "k", "n", Some("base")).unwrap();
    assert_eq!(store.get("n").unwrap().parent.as_deref(), Some("base"));
    let error = store.remove("base").unwrap_err();
    assert!(matches!(error, Error::HasChildren(_)), "{error}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("db");
    create(&Store::open(&path).unwrap(), Kind::Active, "k", None).unwrap();
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    {
        let database = redb::Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(meta).unwrap().insert("schema", 2).unwrap();
        write.commit().unwrap();
    }
    for _ in 0..2 {
        let error = Store::open(&path).map(drop).unwrap_err();
        assert!(error.to_string().contains("schema 2"), "{error}");
    }
}

#[test]
fn a_file_that_is_no_database_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("db");
    fs::write(&path, "precious").unwrap();
    let error = Store::open(&path).map(drop).unwrap_err();
    assert!(error.to_string().contains("db"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// Needs a filesystem that can be filled, so root.
#[test]
fn a_full_disk_loses_nothing_and_needs_no_restart() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can mount a small filesystem");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let _small = Tmpfs::mount(root.path());
    let store = Store::open(&root.path().join("db")).unwrap();
    let ballast = root.path().join("ballast");
    let fill = |leave: u64| {
        let free = nix::sys::statvfs::statvfs(root.path()).unwrap();
        let bytes = free.blocks_available() * free.fragment_size();
        let file = fs::File::create(&ballast).unwrap();
        nix::fcntl::fallocate(
            &file,
            nix::fcntl::FallocateFlags::empty(),
            0,
            (bytes - leave) as i64,
        )
        .unwrap();
    };
    create(&store, Kind::Active, "before", None).unwrap();
    fill(8192);
    let mut acknowledged = vec!["before".to_owned()];
    let mut refused = None;
    for i in 0..2000 {
        let key = format!("k{i:04}");
        let big = labels(&[("label", &"x".repeat(100_000))]);
        match store.create(store.reserve(), Kind::Active, &key, None, big) {
            Ok(_) => acknowledged.push(key),
            Err(error) => {
                refused = Some(status::code(&error));
                break;
            }
        }
    }
    assert_eq!(refused, Some(Code::ResourceExhausted));
    fs::remove_file(&ballast).unwrap();
    create(&store, Kind::Active, "zafter", None).unwrap();
    acknowledged.push("zafter".to_owned());
    acknowledged.sort();
    let keys: Vec<String> = all(&store).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, acknowledged);
}

struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(path: &'a Path) -> Tmpfs<'a> {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("size=16m")).unwrap();
        Tmpfs(path)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create(Kind, usize, Option<usize>),
    Commit(usize, usize, Option<usize>),
    Remove(usize),
    Reopen,
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    let kind = prop_oneof![3 => Just(Kind::Active), 1 => Just(Kind::View)];
    prop_oneof![
        8 => (kind, name.clone(), proptest::option::of(name.clone())).prop_map(|(k, n, p)| Op::Create(k, n, p)),
        8 => (name.clone(), name.clone(), proptest::option::weighted(0.2, name.clone()))
            .prop_map(|(k, n, p)| Op::Commit(k, n, p)),
        4 => name.prop_map(Op::Remove),
        1 => Just(Op::Reopen),
    ]
}

/// containerd's rules, without a disk.
#[derive(Default)]
struct Model(BTreeMap<String, (Kind, Option<String>)>);

impl Model {
    fn apply(&mut self, op: &Op) -> Code {
        let committed = |model: &Model, name: &Option<String>| match name {
            None => Ok(()),
            Some(name) => match model.0.get(name) {
                None => Err(Code::NotFound),
                Some((Kind::Committed, _)) => Ok(()),
                Some(_) => Err(Code::InvalidArgument),
            },
        };
        let named = |place: &Option<usize>| place.map(|place| NAMES[place].to_owned());
        let result = match op {
            Op::Create(kind, key, parent) => committed(self, &named(parent)).and_then(|()| {
                if self.0.contains_key(NAMES[*key]) {
                    return Err(Code::AlreadyExists);
                }
                self.0
                    .insert(NAMES[*key].to_owned(), (*kind, named(parent)));
                Ok(())
            }),
            Op::Commit(key, name, onto) => {
                self.commit(NAMES[*key], NAMES[*name], named(onto), committed)
            }
            Op::Remove(key) => {
                let key = NAMES[*key];
                let child = self
                    .0
                    .values()
                    .any(|(_, parent)| parent.as_deref() == Some(key));
                match self.0.contains_key(key) {
                    false => Err(Code::NotFound),
                    true if child => Err(Code::FailedPrecondition),
                    true => {
                        self.0.remove(key);
                        Ok(())
                    }
                }
            }
            Op::Reopen => Ok(()),
        };
        result.err().unwrap_or(Code::Ok)
    }

    fn commit(
        &mut self,
        key: &str,
        name: &str,
        onto: Option<String>,
        committed: impl Fn(&Model, &Option<String>) -> Result<(), Code>,
    ) -> Result<(), Code> {
        if self.0.contains_key(name) {
            return Err(Code::AlreadyExists);
        }
        let (kind, parent) = self.0.get(key).cloned().ok_or(Code::NotFound)?;
        if kind != Kind::Active {
            return Err(Code::FailedPrecondition);
        }
        let parent = match (parent, onto) {
            (None, onto) => onto,
            (Some(old), Some(onto)) if old != onto => return Err(Code::InvalidArgument),
            (old, _) => old,
        };
        // Here containerd has another code than for a parent at the beginning.
        committed(self, &parent).map_err(|code| match code {
            Code::InvalidArgument => Code::FailedPrecondition,
            code => code,
        })?;
        self.0.remove(key);
        self.0.insert(name.to_owned(), (Kind::Committed, parent));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_store_follows_containerds_rules(ops in proptest::collection::vec(op(), 1..60)) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("db");
        let mut store = Some(Store::open(&path).unwrap());
        let mut model = Model::default();
        for op in &ops {
            let current = store.take().unwrap();
            let name = |place: &Option<usize>| place.map(|place| NAMES[place]);
            let result = match op {
                Op::Create(kind, key, parent) => create(&current, *kind, NAMES[*key], name(parent)),
                Op::Commit(key, to, onto) => commit(&current, NAMES[*key], NAMES[*to], name(onto)),
                Op::Remove(key) => current.remove(NAMES[*key]).map(drop),
                Op::Reopen => Ok(()),
            };
            let code = result.err().map_or(Code::Ok, |error| status::code(&error));
            prop_assert_eq!(code, model.apply(op), "{:?}", op);
            store = Some(match op {
                Op::Reopen => {
                    drop(current);
                    Store::open(&path).unwrap()
                }
                _ => current,
            });
            let store = store.as_ref().unwrap();
            let expected: Vec<_> =
                model.0.iter().map(|(key, (kind, parent))| (key.clone(), *kind, parent.clone())).collect();
            prop_assert_eq!(all(store), expected);
            prop_assert_eq!(store.ids().unwrap().len(), model.0.len());
        }
    }
}
