//! Images that only the bench starts: as people run them, and too large to be made for every test.

use super::recipe::{Recipe, Source};
use super::step::Step;
use super::synthetic;

/// `System.out.println("hello from java")`, compiled; the image has no compiler.
const HELLO: &str = concat!(
    "mkdir /app; base64 -d > /app/Hello.class <<'END'\n",
    "yv66vgAAAD0AGgoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCQAIAAkHAAoMAAsADAEAEGphdmEv",
    "bGFuZy9TeXN0ZW0BAANvdXQBABVMamF2YS9pby9QcmludFN0cmVhbTsIAA4BAA9oZWxsbyBmcm9tIGphdmEKABAAEQcAEgwAEwAUAQAT",
    "amF2YS9pby9QcmludFN0cmVhbQEAB3ByaW50bG4BABUoTGphdmEvbGFuZy9TdHJpbmc7KVYHABYBAAVIZWxsbwEABENvZGUBAARtYWlu",
    "AQAWKFtMamF2YS9sYW5nL1N0cmluZzspVgAgABUAAgAAAAAAAgAAAAUABgABABcAAAARAAEAAQAAAAUqtwABsQAAAAAACQAYABkAAQAX",
    "AAAAFQACAAEAAAAJsgAHEg22AA+xAAAAAAAA\n",
    "END\n",
);

/// A module of a few functions and a table of its own, in a layer of its own.
macro_rules! part {
    ($number:literal) => {
        Step::new(
            concat!("part-", $number),
            concat!(
                "mkdir -p /app/parts; cd /app/parts\n",
                "head -c 1500000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv ",
                $number,
                " -nosalt 2>/dev/null > ",
                $number,
                ".table\n",
                "printf 'import os\\ndef load():\\n    with open(os.path.join(os.path.dirname(__file__), \"",
                $number,
                ".table\"), \"rb\") as f: return f.read(65536)\\n' > part",
                $number,
                ".py\n",
            ),
        )
    };
}

pub(super) static LARGE: [Recipe; 7] = [
    // So small that there is little to be lazy about.
    Recipe {
        name: "small",
        command: &["/bin/cat", "/hello"],
        prints: "hello from tiny",
        indexed: true,
        source: Source::Synthetic(synthetic::tiny, "1"),
    },
    Recipe {
        name: "shell",
        command: &["sh", "-c", "echo hello from sh"],
        prints: "hello from sh",
        indexed: true,
        source: Source::Steps(&[]),
    },
    Recipe {
        name: "java",
        command: &["java", "-cp", "/app", "Hello"],
        prints: "hello from java",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "jre",
                "apt-get install -y --no-install-recommends openjdk-17-jre-headless",
            ),
            Step::new("hello", HELLO),
        ]),
    },
    Recipe {
        name: "numpy",
        command: &[
            "python3",
            "-c",
            "import numpy; print('hello from numpy', numpy.arange(9).reshape(3, 3).sum())",
        ],
        prints: "hello from numpy 36",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "python",
                "apt-get install -y --no-install-recommends python3",
            ),
            Step::new(
                "numpy",
                "apt-get install -y --no-install-recommends python3-numpy",
            ),
        ]),
    },
    Recipe {
        name: "node",
        command: &["node", "-e", "console.log('hello from node')"],
        prints: "hello from node",
        indexed: true,
        source: Source::Steps(&[Step::new(
            "node",
            "apt-get install -y --no-install-recommends nodejs",
        )]),
    },
    Recipe {
        name: "web",
        command: &["sh", "-c", "mkdir -p /var/log/nginx; nginx -t"],
        prints: "test is successful",
        indexed: true,
        source: Source::Steps(&[Step::new(
            "nginx",
            "apt-get install -y --no-install-recommends nginx-light",
        )]),
    },
    Recipe {
        name: "ml",
        command: &[
            "python3",
            "-c",
            "import numpy, pandas; from sklearn.linear_model import LinearRegression; \
             print('hello from ml', round(LinearRegression().fit([[0], [1]], [0, 2]).coef_[0]))",
        ],
        prints: "hello from ml 2",
        indexed: true,
        source: Source::Steps(&[
            Step::new(
                "python",
                "apt-get install -y --no-install-recommends python3",
            ),
            Step::new(
                "ml",
                "apt-get install -y --no-install-recommends \
                 python3-torch python3-torchvision python3-sklearn python3-pandas python3-matplotlib python3-numba \
                 python3-skimage python3-statsmodels python3-opencv g++ llvm-14-dev",
            ),
        ]),
    },
];

/// Thirty layers: a base, an interpreter with modules, and an application in many parts.
pub(super) static DEEP: Recipe = Recipe {
    name: "deep",
    command: &[
        "python3",
        "-c",
        "import sys, glob, importlib; sys.path.insert(0, '/app/parts'); import numpy, yaml, jinja2; \
         n = [importlib.import_module('part%02d' % i).load() for i in range(10, 36)]; print('hello from', len(n), 'parts')",
    ],
    prints: "hello from 26 parts",
    indexed: true,
    source: Source::Steps(&[
        Step::new(
            "python",
            "apt-get install -y --no-install-recommends python3",
        ),
        Step::new(
            "numpy",
            "apt-get install -y --no-install-recommends python3-numpy",
        ),
        Step::new(
            "modules-openssl",
            "apt-get install -y --no-install-recommends python3-yaml python3-jinja2 openssl",
        ),
        part!("10"),
        part!("11"),
        part!("12"),
        part!("13"),
        part!("14"),
        part!("15"),
        part!("16"),
        part!("17"),
        part!("18"),
        part!("19"),
        part!("20"),
        part!("21"),
        part!("22"),
        part!("23"),
        part!("24"),
        part!("25"),
        part!("26"),
        part!("27"),
        part!("28"),
        part!("29"),
        part!("30"),
        part!("31"),
        part!("32"),
        part!("33"),
        part!("34"),
        part!("35"),
    ]),
};
