//! All starts of one image over one link, in turn, on a machine that has nothing else to do.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harness::image::{Form, Image};

use super::Arguments;
use super::bound::bound;
use super::cell::Cell;
use super::prepare::{Prepared, prepare};
use super::trial::{self, Trial};
use crate::links::Named;
use crate::mode::Mode;
use crate::node::Site;

/// A machine that is busy for longer is not going to be quiet.
const MOST_REPEATS: u32 = 3;

pub(crate) struct Session<'a> {
    arguments: &'a Arguments,
    site: Site,
    /// By image: made and pushed once.
    prepared: Mutex<HashMap<String, Prepared>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(arguments: &'a Arguments) -> Result<Self> {
        Ok(Self {
            arguments,
            site: Site::new()?,
            prepared: Mutex::default(),
        })
    }

    fn prepared(&self, image: &Image) -> Result<Prepared> {
        let mut prepared = self
            .prepared
            .lock()
            .map_err(|_| anyhow::anyhow!("an earlier image panicked"))?;
        if let Some(found) = prepared.get(image.name()) {
            return Ok(found.clone());
        }
        let made = prepare(&self.site, image, self.arguments.profiles)
            .with_context(|| format!("a preparing start of {}", image.name()))?;
        prepared.insert(image.name().to_owned(), made.clone());
        Ok(made)
    }

    pub(crate) fn image(&self, name: &str, link: &Named) -> Result<Vec<Cell>> {
        let image = Image::get(name, Form::V2)?;
        let prepared = self.prepared(&image)?;
        let mut modes = Vec::new();
        if !self.arguments.lazy_only {
            modes.push(Mode::Overlayfs);
        }
        modes.extend(self.arguments.peer.iter().cloned());
        modes.push(Mode::Ours { config: "" });
        if self.arguments.profiles {
            modes.extend([Mode::Learned(prepared.profile.clone()), Mode::Cut]);
        }
        let mut trials: Vec<Vec<Trial>> = vec![Vec::new(); modes.len()];
        for _ in 0..self.arguments.runs {
            for (mode, trials) in modes.iter().zip(&mut trials) {
                trials.push(self.trial(&image, link, mode)?);
            }
        }
        let cells = modes.iter().zip(trials);
        let mut cells: Vec<Cell> = cells
            .filter_map(|(mode, trials)| Cell::of(name, &link.name, mode.name(), trials))
            .collect();
        let normal = cells
            .iter()
            .find(|cell| cell.mode == Mode::Overlayfs.name());
        let bound = normal.map(|normal| {
            let (again, warm) = (normal.again.median, normal.warm.median);
            bound(again, warm, prepared.needed, link.rate, link.round_trip)
        });
        for cell in &mut cells {
            cell.bound = bound;
        }
        Ok(cells)
    }

    /// A start that counts. One on a busy machine does not.
    fn trial(&self, image: &Image, link: &Named, mode: &Mode) -> Result<Trial> {
        let limit = Duration::from_secs(self.arguments.complete);
        let shape = link.shape(&self.arguments.shape);
        for repeat in 0..=MOST_REPEATS {
            let trial = trial::run(
                &self.site,
                shape,
                image,
                mode,
                limit,
                self.arguments.requests,
            )
            .with_context(|| format!("{} by {}", image.name(), mode.name()))?;
            println!(
                "{:<6} {:<14} {:<19} pull {:5.2} run {:5.2} total {:5.2} s, {:6.1} MB, {:3} requests, cpu {:4.2} s, {:3.0} MB, warm {:4.2}+{:4.2}; others {:.1} % steal {:.1} % load {:.1}{}",
                image.name(),
                link.name,
                mode.name(),
                trial.pull,
                trial.run,
                trial.total,
                trial.bytes as f64 / 1e6,
                trial.requests,
                trial.cpu,
                trial.memory as f64 / 1e6,
                trial.again,
                trial.warm,
                trial.noise.others * 100.0,
                trial.noise.steal * 100.0,
                trial.noise.load,
                if trial.noise.is_busy() { " BUSY" } else { "" },
            );
            if self.arguments.busy_ok || !trial.noise.is_busy() {
                return Ok(trial);
            }
            std::thread::sleep(Duration::from_secs(u64::from(repeat) * 5));
        }
        bail!(
            "the machine is busy with other things (--busy-ok to measure nevertheless); no table from it"
        )
    }
}
