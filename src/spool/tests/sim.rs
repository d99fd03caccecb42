//! A disk in memory that remembers every operation, can fail, and can be asked what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::spool::disk::{Disk, DiskFile, Room};

const SECTOR: usize = 512;

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(PathBuf, usize),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDirectory(PathBuf),
}

/// A name, and the file that has it from now on, if any.
type Naming = (PathBuf, Option<usize>);

/// A kind of operation, to be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Open,
    Create,
    Read,
    Write,
    SetLen,
    Sync,
    Rename,
    Remove,
    SyncDirectory,
}

impl Kind {
    pub(super) const CHANGING: [Self; 7] = [
        Self::Create,
        Self::Write,
        Self::SetLen,
        Self::Sync,
        Self::Rename,
        Self::Remove,
        Self::SyncDirectory,
    ];
}

/// So many of a kind succeed, then so many fail with this error number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) after: usize,
    pub(super) times: usize,
    pub(super) errno: i32,
}

/// Handles to the same disk.
#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
    log: Vec<Op>,
    faults: Vec<Fault>,
    room: Option<Room>,
    held: bool,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations there were.
    pub(super) fn ops(&self) -> usize {
        self.state().log.len()
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub(super) fn heal(&self) {
        self.state().faults.clear();
    }

    /// From now on no sync comes to its end, until it may.
    pub(super) fn hold_syncs(&self, held: bool) {
        self.state().held = held;
    }

    pub(super) fn set_room(&self, room: Room) {
        self.state().room = Some(room);
    }

    /// All files and what is in them.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, at)| (name.clone(), state.files[*at].clone())).collect()
    }

    /// A disk with these files, all of them durable.
    pub(super) fn holding(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name, state.files.len());
            state.files.push(bytes);
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// What is on the disk if the power is cut after so many operations. What was not synced is kept, lost,
    /// torn or reordered by a generator with this seed; names of a directory are lost from the newest on, or any of
    /// them.
    pub(super) fn after_power_cut(&self, ops: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut files: Vec<(Vec<u8>, Vec<Op>)> = Vec::new();
        let mut names: BTreeMap<PathBuf, BTreeMap<PathBuf, usize>> = BTreeMap::new();
        // By directory: what belongs together, since a rename within one is done wholly or not at all.
        let mut pending: BTreeMap<PathBuf, Vec<Vec<Naming>>> = BTreeMap::new();
        let mut live: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let directory = |path: &Path| path.parent().unwrap().to_owned();
        for op in self.state().log.iter().take(ops) {
            match op {
                Op::Create(path, file) => {
                    assert_eq!(*file, files.len());
                    files.push(Default::default());
                    live.insert(path.clone(), *file);
                    pending.entry(directory(path)).or_default().push(vec![(path.clone(), Some(*file))]);
                }
                Op::Write(file, ..) | Op::SetLen(file, _) => files[*file].1.push(op.clone()),
                Op::Sync(file) => {
                    let (bytes, waiting) = &mut files[*file];
                    waiting.drain(..).for_each(|op| apply(bytes, &op, |_| true));
                }
                Op::Rename(from, to) => {
                    let file = live.remove(from).unwrap();
                    live.insert(to.clone(), file);
                    let (here, gone) = ((to.clone(), Some(file)), (from.clone(), None));
                    if directory(to) == directory(from) {
                        pending.entry(directory(to)).or_default().push(vec![here, gone]);
                    } else {
                        pending.entry(directory(to)).or_default().push(vec![here]);
                        pending.entry(directory(from)).or_default().push(vec![gone]);
                    }
                }
                Op::Remove(path) => {
                    live.remove(path);
                    pending.entry(directory(path)).or_default().push(vec![(path.clone(), None)]);
                }
                Op::SyncDirectory(path) => {
                    let durable = names.entry(path.clone()).or_default();
                    for (name, file) in pending.remove(path).unwrap_or_default().into_iter().flatten() {
                        put(durable, name, file);
                    }
                }
            }
        }
        for (path, waiting) in pending {
            let (first, any) = (random.usize(0..=waiting.len()), random.bool());
            let durable = names.entry(path).or_default();
            for (nth, naming) in waiting.into_iter().enumerate() {
                if if any { random.bool() } else { nth < first } {
                    naming.into_iter().for_each(|(name, file)| put(durable, name, file));
                }
            }
        }
        for (bytes, waiting) in &mut files {
            let mood = random.u8(0..4);
            if mood == 3 {
                random.shuffle(waiting);
            }
            for op in waiting.drain(..) {
                apply(bytes, &op, |_| match mood {
                    0 => true,
                    1 => false,
                    _ => random.bool(),
                });
            }
        }
        let wanted: BTreeSet<_> = names.values().flatten().collect();
        Self::holding(wanted.into_iter().map(|(name, file)| (name.clone(), files[*file].0.clone())).collect())
    }

    fn refuse(&self, kind: Kind) -> io::Result<()> {
        let mut state = self.state();
        for fault in state.faults.iter_mut().filter(|fault| fault.kind == kind && fault.times > 0) {
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        Ok(())
    }

    fn log(&self, op: Op) {
        self.state().log.push(op);
    }
}

fn put(names: &mut BTreeMap<PathBuf, usize>, name: PathBuf, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(&name),
    };
}

/// Carries an operation out, those sectors of it that are kept.
fn apply(bytes: &mut Vec<u8>, op: &Op, mut kept: impl FnMut(usize) -> bool) {
    match op {
        Op::SetLen(_, len) => {
            if kept(0) {
                bytes.resize(*len as usize, 0);
            }
        }
        Op::Write(_, at, written) => {
            let mut from = 0;
            while from < written.len() {
                let absolute = *at as usize + from;
                let to = written.len().min(from + SECTOR - absolute % SECTOR);
                if kept(absolute / SECTOR) {
                    let end = *at as usize + to;
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    bytes[absolute..end].copy_from_slice(&written[from..to]);
                }
                from = to;
            }
        }
        other => panic!("{other:?} is no change of a file"),
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.refuse(Kind::Create)?;
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), file);
        state.log.push(Op::Create(name.to_owned(), file));
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.refuse(Kind::Open)?;
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|name| name.parent() == Some(directory));
        Ok(inside.map(|name| name.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.refuse(Kind::Rename)?;
        let mut state = self.state();
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.log.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.refuse(Kind::Remove)?;
        self.state().names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        self.log(Op::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.refuse(Kind::SyncDirectory)?;
        self.log(Op::SyncDirectory(directory.to_owned()));
        Ok(())
    }

    fn room(&self) -> io::Result<Room> {
        Ok(self.state().room.unwrap_or(Room { bytes: 1 << 40, inodes: 1 << 20 }))
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.refuse(Kind::Read)?;
        let state = self.disk.state();
        let from = offset as usize;
        let bytes = state.files[self.file].get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let refused = self.disk.refuse(Kind::Write);
        // A full disk takes what still fits.
        let taken = if refused.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let op = Op::Write(self.file, offset, taken.to_vec());
        let mut state = self.disk.state();
        apply(&mut state.files[self.file], &op, |_| true);
        state.log.push(op);
        refused
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.refuse(Kind::Sync)?;
        while self.disk.state().held {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.disk.log(Op::Sync(self.file));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.refuse(Kind::SetLen)?;
        let op = Op::SetLen(self.file, len);
        let mut state = self.disk.state();
        apply(&mut state.files[self.file], &op, |_| true);
        state.log.push(op);
        Ok(())
    }
}
