//! A disk in memory that remembers every write, can fail, and can be asked what a power cut would have left.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::StorageBackend;

const SECTOR: usize = 512;

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// What to do with the operations that no sync followed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Kept,
    Lost,
    /// Each kept, lost, or torn into sectors, by a generator with this seed.
    Mixed(u64),
    /// The same, and the later before the earlier.
    Reordered(u64),
}

/// A kind of operation, to be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Read,
    Write,
    SetLen,
    Sync,
}

/// Handles to the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Operations that were remembered, of all files of one machine.
    clock: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Each with how many there were before it.
    log: Option<Vec<(usize, Op)>>,
    fault: Option<Fault>,
    faults: usize,
    syncs_held: bool,
    waiting_syncs: usize,
}

#[derive(Debug)]
struct Fault {
    kind: Kind,
    /// So many more of its kind succeed.
    after: usize,
    error: i32,
    /// Whether later ones succeed again.
    once: bool,
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A disk that holds this.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().bytes = bytes;
        disk
    }

    /// Another file of the same machine: the power fails for both at once, and a sync of one is none of the other.
    pub(crate) fn beside(&self, bytes: Vec<u8>) -> Self {
        let clock = self.0.clock.clone();
        Self(Arc::new(Inner {
            state: Mutex::new(State { bytes, ..State::default() }),
            clock,
            ..Inner::default()
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Everything on it, as an orderly shutdown of the machine would leave it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Remembers all operations from now on.
    pub(crate) fn record(&self) {
        self.state().log = Some(Vec::new());
    }

    /// How many operations were remembered, those of all files of the machine together.
    pub(crate) fn recorded(&self) -> usize {
        self.0.clock.load(Ordering::SeqCst)
    }

    /// What the disk holds that held `before`, if the power fails after the first `at` operations.
    pub(crate) fn after_power_cut(&self, before: &[u8], at: usize, unsynced: Unsynced) -> Vec<u8> {
        let log = self.state().log.clone().unwrap_or_default();
        let done: Vec<Op> = log.into_iter().take_while(|(nth, _)| *nth < at).map(|(_, op)| op).collect();
        left_of(before, &done, unsynced)
    }

    /// Fails operations of this kind with this `errno` after `after` more have succeeded.
    pub(crate) fn fail(&self, kind: Kind, after: usize, error: i32, once: bool) {
        self.state().fault = Some(Fault { kind, after, error, once });
    }

    /// How many operations were made to fail.
    pub(crate) fn faults(&self) -> usize {
        self.state().faults
    }

    /// Lets no sync return until [`Self::release_syncs`].
    pub(crate) fn hold_syncs(&self) {
        self.state().syncs_held = true;
    }

    pub(crate) fn release_syncs(&self) {
        self.state().syncs_held = false;
        self.0.changed.notify_all();
    }

    /// Waits until a sync is being held up.
    pub(crate) fn wait_for_sync(&self) {
        let mut state = self.state();
        while state.waiting_syncs == 0 {
            state = self.0.changed.wait(state).unwrap();
        }
    }

    fn act(&self, kind: Kind, op: impl FnOnce() -> Option<Op>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some(fault) = &mut state.fault
            && fault.kind == kind
        {
            if fault.after == 0 {
                let error = io::Error::from_raw_os_error(fault.error);
                if fault.once {
                    state.fault = None;
                }
                state.faults += 1;
                return Err(error);
            }
            fault.after -= 1;
        }
        if let Some(op) = op()
            && let Some(log) = &mut state.log
        {
            log.push((self.0.clock.fetch_add(1, Ordering::SeqCst), op));
        }
        Ok(state)
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.act(Kind::Read, || None)?;
        let offset = offset as usize;
        let bytes = state.bytes.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.act(Kind::SetLen, || Some(Op::SetLen(len)))?;
        state.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.act(Kind::Sync, || Some(Op::Sync))?;
        state.waiting_syncs += 1;
        self.0.changed.notify_all();
        while state.syncs_held {
            state = self.0.changed.wait(state).unwrap();
        }
        state.waiting_syncs -= 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.act(Kind::Write, || Some(Op::Write(offset, data.to_vec()))) {
            Ok(mut state) => write(&mut state.bytes, offset, data),
            Err(error) => {
                // A full disk takes what still fits, and a broken one what it can.
                write(&mut self.state().bytes, offset, data.get(..data.len() / 2).unwrap_or_default());
                return Err(error);
            }
        }
        Ok(())
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = offset as usize;
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// What is left of `before` and these operations: all up to the last sync, and of the rest what is said.
fn left_of(before: &[u8], done: &[Op], unsynced: Unsynced) -> Vec<u8> {
    let synced = done.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |last| last + 1);
    let mut bytes = before.to_vec();
    for op in &done[..synced] {
        apply(&mut bytes, op);
    }
    let mut pending: Vec<&Op> = done[synced..].iter().collect();
    let mut rng = match unsynced {
        Unsynced::Lost => return bytes,
        Unsynced::Kept => {
            pending.iter().for_each(|op| apply(&mut bytes, op));
            return bytes;
        }
        Unsynced::Mixed(seed) => fastrand::Rng::with_seed(seed),
        Unsynced::Reordered(seed) => {
            let mut rng = fastrand::Rng::with_seed(seed);
            rng.shuffle(&mut pending);
            rng
        }
    };
    for op in pending {
        match (rng.u8(0..3), op) {
            (0, _) => {}
            (1, Op::Write(offset, data)) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if rng.bool() {
                        write(&mut bytes, offset + (n * SECTOR) as u64, sector);
                    }
                }
            }
            _ => apply(&mut bytes, op),
        }
    }
    bytes
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => write(bytes, *offset, data),
        Op::SetLen(len) => bytes.resize(*len as usize, 0),
        Op::Sync => {}
    }
}
