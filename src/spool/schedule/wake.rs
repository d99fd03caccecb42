//! What comes back, and who waits no more then.

use super::lane::{Lane, Later};
use super::{Destination, QueueId, Schedule};

impl Schedule {
    /// Something that concerns all is back: nothing that was tried waits any more, but for its floor.
    pub fn wake_all(&mut self, now: u64) {
        for number in 0..self.lanes.len() {
            self.call(now, number, |later| later.job.attempts > 0);
        }
    }

    /// A destination is back: who failed because of it waits no more.
    pub fn wake(&mut self, now: u64, destination: &Destination) {
        let number = self.number(destination);
        self.call(now, number, |later| later.job.is_unreachable());
    }

    /// Somebody else got an answer there: as [`Self::wake`], where it was thought to be lost.
    pub fn reached(&mut self, now: u64, destination: &Destination) {
        let number = self.numbers.get(destination).copied();
        if number.and_then(|number| self.lanes.get(number)).is_some_and(Lane::is_open) {
            self.wake(now, destination);
        }
    }

    /// A person wants everything tried: nothing that was tried waits any more, and one that runs is tried once
    /// more however it ends.
    pub fn retry_all(&mut self) {
        for number in 0..self.lanes.len() {
            self.release(number, |later| later.job.attempts > 0);
            if let Some(lane) = self.lanes.get_mut(number) {
                lane.wake();
                lane.running.values_mut().for_each(|running| running.asked = true);
            }
        }
    }

    /// The jobs of one message wait no more, and one that runs is tried once more however it ends.
    pub fn wake_message(&mut self, id: QueueId) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(later) = lane.later.remove(&id) {
                self.timers.remove(&(later.due, number, id));
                lane.ready.insert(id, later.job);
            }
            if let Some(running) = lane.running.get_mut(&id) {
                running.asked = true;
            }
        }
    }

    /// Something is back that those in a lane may have waited for.
    fn call(&mut self, now: u64, number: usize, whom: impl Fn(&Later) -> bool) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        lane.wake();
        let wanted = lane.later.iter().filter(|(_, later)| whom(later));
        let called: Vec<_> = wanted.filter_map(|(id, later)| Some((*id, later.woken(now)?))).collect();
        for (id, woken) in called {
            if let Some(later) = lane.later.remove(&id) {
                self.timers.remove(&(later.due, number, id));
            }
            if woken.due <= now {
                lane.ready.insert(id, woken.job);
            } else {
                self.timers.insert((woken.due, number, id));
                lane.later.insert(id, woken);
            }
        }
    }

    /// Makes those ready who wait in a lane.
    pub(super) fn release(&mut self, number: usize, whom: impl Fn(&Later) -> bool) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        for (id, later) in lane.take_later(whom) {
            self.timers.remove(&(later.due, number, id));
            lane.ready.insert(id, later.job);
        }
    }
}
