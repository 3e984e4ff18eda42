//! Which images there are and what each is made of.

use std::path::Path;

use anyhow::Result;

use super::step::{self, Step};
use super::{Layer, synthetic};
use crate::cache;

/// Changed by hand when the way of making images changes and what is cached must be made anew.
const VERSION: &str = "2";

pub(super) enum Source {
    /// Debian packages on top of the base, one layer each.
    Steps(&'static [Step]),
    /// Layers written by hand, and a number to change with what they hold.
    Synthetic(fn(&Path) -> Result<Vec<Layer>>, &'static str),
}

pub struct Recipe {
    pub name: &'static str,
    /// What a container of the image runs, and what that prints somewhere.
    pub command: &'static [&'static str],
    pub prints: &'static str,
    /// Whether the original tool makes indices of it.
    pub indexed: bool,
    pub(super) source: Source,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipe({})", self.name)
    }
}

impl Recipe {
    pub(super) fn key(&self) -> String {
        let mut parts = vec![VERSION, self.name, step::BASE];
        parts.extend(self.command);
        match &self.source {
            Source::Steps(steps) => parts.extend(steps.iter().map(|step| step.script)),
            Source::Synthetic(_, version) => parts.push(version),
        }
        cache::key(&parts)
    }

    /// The layers; those written by hand are written below `dir`.
    pub(super) fn layers(&self, dir: &Path) -> Result<Vec<Layer>> {
        match &self.source {
            Source::Steps(steps) => step::layers(steps),
            Source::Synthetic(make, _) => make(dir),
        }
    }
}

/// Images of real software.
pub const REAL: [&str; 6] = ["python", "jvm", "nginx", "redis", "perl", "postgres"];

/// What the tests use.
pub static ALL: [Recipe; 11] = [
    Recipe {
        name: "jvm",
        command: &["java", "-version"],
        prints: "OpenJDK 64-Bit Server VM",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "jre",
                "apt-get install -y --no-install-recommends openjdk-17-jre-headless",
            ),
            Step::new("app", "mkdir /app; echo 'class Hello {}' > /app/Hello.java"),
        ]),
    },
    Recipe {
        name: "postgres",
        command: &["/usr/lib/postgresql/15/bin/postgres", "--version"],
        prints: "postgres (PostgreSQL) 15",
        indexed: true,
        source: Source::Steps(&[Step::new(
            "postgres",
            "apt-get install -y --no-install-recommends postgresql-15",
        )]),
    },
    Recipe {
        name: "python",
        command: &["python3", "/app/main.py"],
        prints: "hello from python 3.11",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "python",
                "apt-get install -y --no-install-recommends python3",
            ),
            Step::new(
                "modules",
                "apt-get install -y --no-install-recommends python3-requests python3-yaml python3-jinja2",
            ),
            Step::new(
                "app",
                r#"
                mkdir /app
                printf '%s\n' 'import sys, json, yaml, jinja2, requests' \
                    'print("hello from python %d.%d" % sys.version_info[:2])' > /app/main.py
                rm -rf /usr/share/doc /usr/share/man/man1
                mkdir /usr/share/doc
                echo none > /usr/share/doc/README
                "#,
            ),
        ]),
    },
    Recipe {
        name: "nginx",
        command: &["nginx", "-t"],
        prints: "test is successful",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "nginx",
                "apt-get install -y --no-install-recommends nginx-light",
            ),
            Step::new("site", "echo '<h1>hello</h1>' > /var/www/html/index.html"),
        ]),
    },
    Recipe {
        name: "redis",
        command: &[
            "sh",
            "-c",
            "redis-server --port 0 --unixsocket /tmp/s --daemonize yes; sleep 1; redis-cli -s /tmp/s ping",
        ],
        prints: "PONG",
        indexed: true,
        source: Source::Steps(&[Step::new(
            "redis",
            "apt-get install -y --no-install-recommends redis-server",
        )]),
    },
    Recipe {
        name: "perl",
        command: &[
            "perl",
            "-MLWP::UserAgent",
            "-e",
            r#"print "hello from perl $]\n""#,
        ],
        prints: "hello from perl 5.036",
        indexed: true,
        source: Source::Steps(&[Step::new(
            "perl",
            "apt-get install -y --no-install-recommends perl libwww-perl",
        )]),
    },
    Recipe {
        name: "odd",
        command: &["cat", "/odd/hello"],
        prints: "hello from odd",
        indexed: true,
        source: Source::Synthetic(synthetic::odd, "1"),
    },
    Recipe {
        name: "many",
        command: &["cat", "/many/100/999"],
        prints: "file 100/999",
        indexed: true,
        source: Source::Synthetic(synthetic::many, "1"),
    },
    Recipe {
        name: "tiny",
        command: &["/bin/cat", "/hello"],
        prints: "hello from tiny",
        indexed: false,
        source: Source::Synthetic(synthetic::tiny, "1"),
    },
    Recipe {
        name: "plain-tar",
        command: &["cat", "/plain/hello"],
        prints: "hello from plain",
        indexed: true,
        source: Source::Synthetic(synthetic::plain_tar, "1"),
    },
    Recipe {
        name: "multi-member",
        command: &["cat", "/multi/hello"],
        prints: "hello from multi",
        indexed: true,
        source: Source::Synthetic(synthetic::multi_member, "1"),
    },
];
