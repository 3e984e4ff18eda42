//! One line of the table: an image, a link, a mode, and what its runs say together.

use serde::Serialize;

use super::bound::Bound;
use super::trial::Trial;
use crate::machine::Noise;
use crate::stats::{Spread, spread};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) image: String,
    pub(crate) link: String,
    pub(crate) mode: String,
    pub(crate) pull: Spread,
    pub(crate) run: Spread,
    pub(crate) total: Spread,
    pub(crate) bytes: Spread,
    pub(crate) requests: Spread,
    pub(crate) connections: Spread,
    pub(crate) cpu: Spread,
    pub(crate) containerd_cpu: Spread,
    pub(crate) memory: Spread,
    pub(crate) again: Spread,
    pub(crate) warm: Spread,
    /// Bytes and seconds; none if the layers did not come in time.
    pub(crate) complete: Option<(Spread, Spread)>,
    pub(crate) link_cpu: Spread,
    pub(crate) noise: Noise,
    /// Of the image and the link, whoever serves it.
    pub(crate) bound: Option<Bound>,
    pub(crate) trials: Vec<Trial>,
}

impl Cell {
    /// Of no trials there is no cell.
    pub(crate) fn of(image: &str, link: &str, mode: &str, trials: Vec<Trial>) -> Option<Self> {
        let over = |figure: fn(&Trial) -> f64| spread(trials.iter().map(figure));
        let complete: Vec<(u64, f64)> = trials.iter().filter_map(|trial| trial.complete).collect();
        Some(Self {
            image: image.to_owned(),
            link: link.to_owned(),
            mode: mode.to_owned(),
            pull: over(|trial| trial.pull)?,
            run: over(|trial| trial.run)?,
            total: over(|trial| trial.total)?,
            bytes: over(|trial| trial.bytes as f64)?,
            requests: over(|trial| trial.requests as f64)?,
            connections: over(|trial| trial.connections as f64)?,
            cpu: over(|trial| trial.cpu)?,
            containerd_cpu: over(|trial| trial.containerd_cpu)?,
            memory: over(|trial| trial.memory as f64)?,
            again: over(|trial| trial.again)?,
            warm: over(|trial| trial.warm)?,
            complete: spread(complete.iter().map(|(bytes, _)| *bytes as f64))
                .zip(spread(complete.iter().map(|(_, seconds)| *seconds))),
            link_cpu: over(|trial| trial.link_cpu)?,
            noise: trials
                .iter()
                .fold(Noise::default(), |worst, trial| worst.worst(trial.noise)),
            bound: None,
            trials,
        })
    }
}
