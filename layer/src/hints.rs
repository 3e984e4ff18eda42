//! Spans of a layer that will be wanted before the rest.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;

/// More than this is noise.
const MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct Hints(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    /// A reader is on its way there.
    ahead: VecDeque<Range<u32>>,
    /// A list says so.
    listed: VecDeque<Range<u32>>,
}

impl Hints {
    pub(crate) fn push_listed(&self, spans: Range<u32>) {
        push(&mut self.0.lock().listed, spans);
    }

    pub(crate) fn push_ahead(&self, spans: Range<u32>) {
        push(&mut self.0.lock().ahead, spans);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let lists = self.0.lock();
        lists.ahead.is_empty() && lists.listed.is_empty()
    }

    pub(crate) fn take_ahead(&self) -> Option<Range<u32>> {
        self.0.lock().ahead.pop_front()
    }

    pub(crate) fn take_listed(&self) -> Option<Range<u32>> {
        self.0.lock().listed.pop_front()
    }

    /// What is left of a list comes next.
    pub(crate) fn put_back(&self, spans: Range<u32>) {
        self.0.lock().listed.push_front(spans);
    }
}

fn push(list: &mut VecDeque<Range<u32>>, spans: Range<u32>) {
    if !spans.is_empty() && list.len() < MAX {
        list.push_back(spans);
    }
}
