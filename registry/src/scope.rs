//! Which scope a token is asked for, given the one a challenge names.

use std::borrow::Cow;

use crate::endpoint::Endpoint;

/// A challenge knows the name best, but speaks only of the request at hand. A push goes on with other
/// requests; so that one token does for all, its scope is the union.
pub(crate) fn wanted<'a>(endpoint: &'a Endpoint, challenged: Option<&'a str>) -> Cow<'a, str> {
    match challenged {
        Some(challenged) if endpoint.is_pushing => union(&endpoint.scope, challenged).into(),
        Some(challenged) => challenged.into(),
        None => endpoint.scope.as_str().into(),
    }
}

/// Of scopes `type:name:action,…` separated by spaces.
fn union(ours: &str, theirs: &str) -> String {
    let mut resources: Vec<(&str, Vec<&str>)> = Vec::new();
    let scopes = ours.split_ascii_whitespace();
    for scope in scopes.chain(theirs.split_ascii_whitespace()) {
        // A name may hold a port, actions hold no colon.
        let Some((resource, actions)) = scope.rsplit_once(':') else {
            continue;
        };
        let known = resources.iter_mut().find(|(known, _)| *known == resource);
        let actions = actions.split(',').filter(|action| !action.is_empty());
        match known {
            Some((_, known)) => {
                let new: Vec<_> = actions.filter(|action| !known.contains(action)).collect();
                known.extend(new);
            }
            None => resources.push((resource, actions.collect())),
        }
    }
    let scope =
        |(resource, actions): &(&str, Vec<&str>)| format!("{resource}:{}", actions.join(","));
    resources.iter().map(scope).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ours: &str, theirs: &str, expected: &str) {
        assert_eq!(union(ours, theirs), expected, "{ours} + {theirs}");
    }

    #[test]
    fn a_token_allows_what_is_asked_and_what_will_be() {
        let ours = "repository:a/b:pull,push";
        check(ours, "repository:a/b:pull", ours);
        check(ours, "repository:a/b:push,pull", ours);
        check(
            ours,
            "repository:a/b:delete",
            "repository:a/b:pull,push,delete",
        );
        check(ours, "", ours);
        check(ours, "garbage", ours);
        check(
            "repository:a/b:pull,push repository:c:pull",
            "repository:a/b:pull registry:catalog:*",
            "repository:a/b:pull,push repository:c:pull registry:catalog:*",
        );
        check(
            ours,
            "repository:h:5000/a:pull",
            "repository:a/b:pull,push repository:h:5000/a:pull",
        );
    }
}
