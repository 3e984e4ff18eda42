//! containerd's filter language: which snapshots a List asks for.

mod parse;

pub use parse::ParseError;

/// What a filter can look at.
pub trait Fields {
    /// The value at a path such as `["labels", "key"]`; `None` when it is not there.
    fn field(&self, path: &[String]) -> Option<&str>;
}

/// Matches what any of its alternatives matches.
#[derive(Debug)]
pub struct Filter(Vec<Vec<Selector>>);

impl Filter {
    /// No filter at all matches everything, as does an empty one.
    pub fn parse(filters: &[String]) -> Result<Filter, ParseError> {
        if filters.is_empty() {
            return Ok(Filter(vec![Vec::new()]));
        }
        let parsed: Result<_, _> = filters.iter().map(|text| parse::selectors(text)).collect();
        Ok(Filter(parsed?))
    }

    pub fn matches(&self, fields: &impl Fields) -> bool {
        let all = |selectors: &Vec<Selector>| selectors.iter().all(|s| s.matches(fields));
        self.0.iter().any(all)
    }
}

#[derive(Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Present,
    /// Bytes: a quoted value may spell out what is not UTF-8.
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    /// `None` matches nothing: the expression does not compile, or is too large.
    Matches(Option<regex::Regex>),
}

impl Selector {
    fn matches(&self, fields: &impl Fields) -> bool {
        let value = fields.field(&self.path);
        // An absent field is unequal to every value but the empty one.
        let text = value.unwrap_or_default();
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value.as_bytes() == wanted),
            Test::NotEqual(unwanted) => text.as_bytes() != unwanted,
            Test::Matches(expression) => expression.as_ref().is_some_and(|e| e.is_match(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Snapshot {
        name: &'static str,
        parent: &'static str,
        labels: BTreeMap<String, String>,
    }

    impl Fields for Snapshot {
        fn field(&self, path: &[String]) -> Option<&str> {
            let (first, rest) = path.split_first()?;
            match first.as_str() {
                "name" => Some(self.name),
                "parent" => Some(self.parent),
                "kind" => Some("active"),
                "labels" => self.labels.get(&rest.join(".")).map(String::as_str),
                _ => None,
            }
        }
    }

    fn snapshot() -> Snapshot {
        let labels = [
            ("foo", "bar"),
            ("containerd.io/snapshot.ref", "sha256:12ab"),
            ("a.b", "dotted"),
            ("quoted", "say \"hi\", x"),
            ("bytes", "é"),
            ("path", "/usr/bin"),
        ];
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Snapshot {
            name: "ns/3/key",
            parent: "",
            labels: labels.map(owned).into(),
        }
    }

    fn check(filters: &[&str], expected: bool) {
        let filters: Vec<String> = filters.iter().map(|&f| f.to_owned()).collect();
        let filter = Filter::parse(&filters).unwrap();
        assert_eq!(filter.matches(&snapshot()), expected, "{filters:?}");
    }

    fn refused(filter: &str) {
        let error = Filter::parse(&[filter.to_owned()]).unwrap_err().to_string();
        assert!(!error.is_empty(), "{filter:?}");
    }

    #[test]
    fn containerd_finds_the_layer_it_asked_for() {
        check(
            &[r#"labels."containerd.io/snapshot.ref"==sha256:12ab,parent=="""#],
            true,
        );
        check(
            &[r#"labels."containerd.io/snapshot.ref"==sha256:12ac,parent=="""#],
            false,
        );
        check(
            &[r#"labels."containerd.io/snapshot.ref"==sha256:12ab,parent=="p""#],
            false,
        );
    }

    #[test]
    fn comma_is_and_several_filters_are_or() {
        check(&[], true);
        check(&[""], true);
        check(&["kind==active,name==ns/3/key"], true);
        check(&["kind==active,name==other"], false);
        check(&["kind==committed", "name==ns/3/key"], true);
        check(&["kind==committed", "name==other"], false);
        check(&["kind==committed", ""], true);
    }

    #[test]
    fn operators_test_equality_presence_and_expressions() {
        check(&["labels.foo"], true);
        check(&["labels.none"], false);
        check(&["labels"], false);
        check(&["nothing"], false);
        check(&["labels.foo!=baz"], true);
        check(&["labels.foo!=bar"], false);
        check(&["labels.none!=bar"], true);
        check(&["labels.none==\"\""], false);
        check(&["parent!=\"\""], false);
        check(&["labels.foo~=^b.r$"], true);
        check(&["labels.foo~=^b$"], false);
        check(&[r"labels.path~=|^/usr/(bin\|lib)$|"], true);
        check(&["labels.path~=|^/usr/[bl]in?|"], true);
        check(&[r"labels.path~=/^\/usr/"], true);
        check(&["labels.foo~=[unclosed"], false);
        check(&["labels.foo~=(b{1000}){1000}"], false);
    }

    #[test]
    fn fields_and_values_may_be_quoted_as_in_go() {
        check(&["labels.a.b==dotted"], true);
        check(&[r#"labels."a.b"==dotted"#], true);
        check(&[r#"labels."a"."b"==dotted"#], true);
        check(&[r#"labels.quoted=="say \"hi\", x""#], true);
        check(&[r#"labels.bytes=="\u00e9""#], true);
        check(&[r#"labels.bytes=="\xc3\xa9""#], true);
        check(&[r#"labels.bytes=="\303\251""#], true);
        check(&[r#"labels.bytes=="\U000000e9""#], true);
        check(&["labels.bytes==é"], true);
        check(&[r#"labels.foo==b"a"r"#], false);
        check(&[" labels. foo  == bar"], true);
    }

    #[test]
    fn space_is_free_before_an_operator_a_value_and_a_field() {
        check(&["labels.foo == bar"], true);
        check(&[" labels.foo== bar, kind==active"], true);
        refused("labels.foo==bar ,kind==active");
        refused("labels.foo==bar ");
    }

    #[test]
    fn nonsense_is_refused_with_the_place() {
        for filter in [
            ",",
            "==bar",
            "labels.",
            ".labels",
            "labels.foo=bar",
            "labels.foo===bar",
            "labels.foo==bar,",
            "labels.foo==",
            "labels.foo==,kind",
            "labels.foo==.bar",
            "labels.foo bar",
            "labels .foo",
            "name==/x/",
            "name==|x|",
            "name~=|a|b|",
            r#"labels."foo"#,
            r#"labels."foo\q""#,
            r#"labels."\u12""#,
            r#"labels."\400""#,
            r#"labels."\U00110000""#,
            "labels.foo==\u{fffd}",
            "labels.foo\0",
            "-",
            "labels.f-oo",
        ] {
            refused(filter);
        }
        let error = Filter::parse(&["labels.foo=bar".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"filter "labels.foo=bar", byte 10: unsupported operator "=""#
        );
    }
}
