//! What comes back, and who waits no more then.

use super::lane::{Lane, Later};
use super::{Destination, QueueId, Schedule};

impl Schedule {
    /// Something that concerns all is back: nothing that was tried waits any more.
    pub fn wake_all(&mut self) {
        for number in 0..self.lanes.len() {
            self.release(number, |later| later.job.attempts > 0);
            if let Some(lane) = self.lanes.get_mut(number) {
                lane.wake();
            }
        }
    }

    /// A destination is back: who failed because of it waits no more.
    pub fn wake(&mut self, destination: &Destination) {
        let number = self.number(destination);
        self.release(number, |later| later.unreachable);
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.wake();
        }
    }

    /// Somebody else got an answer there: as [`Self::wake`], where it was thought to be lost.
    pub fn reached(&mut self, destination: &Destination) {
        let number = self.numbers.get(destination).copied();
        if number.and_then(|number| self.lanes.get(number)).is_some_and(Lane::is_open) {
            self.wake(destination);
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

    /// Makes those ready who wait in a lane.
    pub(super) fn release(&mut self, number: usize, whom: impl Fn(&Later) -> bool) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        for (id, later) in lane.take_later(whom) {
            self.timers.remove(&(later.due, number, id));
            lane.ready.insert(id, later.job);
        }
    }
}
