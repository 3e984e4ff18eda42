//! Prefetch artifacts.

use soci::canonical;
use soci::check::check_prefetch;

fn check(json: &str, spans: u32, expected: &[&str]) {
    let layer = canonical::digest(b"layer").unwrap();
    let found = check_prefetch(json.as_bytes(), &layer, spans);
    let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, expected, "{json}");
    assert!(
        found
            .iter()
            .all(|finding| finding.subject == layer.as_ref())
    );
}

#[test]
fn ranges_outside_the_layer_are_found() {
    let one = |start: i64, end: i64| {
        format!(
            r#"{{"version":"1.0","prefetch_spans":[{{"start_span":{start},"end_span":{end}}}]}}"#
        )
    };
    check(&one(0, 4), 5, &[]);
    check(&one(0, 5), 5, &["prefetch-range"]);
    check(&one(-1, 0), 5, &["prefetch-range"]);
    check(&one(0, 2_147_483_647), 5, &["prefetch-range"]);
    check(&one(3, 2), 5, &["prefetch-range"]);
    check(
        r#"{"version":"1.0","prefetch_spans":[]}"#,
        5,
        &["prefetch-refused"],
    );
    check(&one(0, 1).replace("1.0", "2.0"), 5, &["prefetch-refused"]);
    check(&one(0, 1).replace(':', ": "), 5, &["prefetch-form"]);
}
