//! The list itself: one name, all of it into a file, another one in.

use std::io::Read;

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Desk, in_json, plan};
use crate::admin::server::{Replies, Session, Upload};
use crate::admin::{Form, ListAsk, TakenIn};
use crate::authority::machine::State;
use crate::authority::namespace::Namespace;
use crate::authority::plan::{Act, Intent, PlanStep, Planner};
use crate::authority::write::{Origin, Outcome, Write};
use crate::config::MUPDATE_PORT;
use crate::list::dump::{self, LineWriter};
use crate::list::{Entry, EntryState, MailboxName, Record};
use crate::mupdate::client::Listing;
use crate::store::Snapshot;

/// Bytes of the list read at a time.
const CHUNK: usize = 64 << 10;
/// Names handed on at a time.
const BATCH: usize = 1000;
/// Names that an import gives to the murder at once.
const AT_ONCE: usize = 64;

pub(super) async fn attend(desk: &Desk, ask: ListAsk, session: Session) -> Result<Value, String> {
    match ask {
        ListAsk::Find { name } => {
            desk.needs_list(&session.replies).await?;
            let name = name.name()?;
            let held = desk.authority.store().get(&name).map_err(|error| error.to_string())?;
            let held = held.ok_or_else(|| format!("{name} is not in the list"))?;
            in_json(Record::new(&name, &held))
        }
        ListAsk::Export { form } => {
            desk.needs_list(&session.replies).await?;
            let snapshot = desk.authority.store().snapshot().map_err(|error| error.to_string())?;
            let exporting = tokio::task::spawn_blocking(move || export(&snapshot, form, &session.replies));
            exporting.await.map_err(|error| error.to_string())?
        }
        ListAsk::Import { file, server, dry, .. } => {
            let _turn = desk.turns.take("an import")?;
            let source = Source::File(parse(session.upload, server));
            in_json(take_in(desk, source, file, dry, &session.replies).await?)
        }
        ListAsk::Learn { from, dry } => {
            let _turn = desk.turns.take("learning a list")?;
            let address = if from.contains(':') { from } else { format!("{from}:{MUPDATE_PORT}") };
            let link = desk.link.get().at(address.clone()).map_err(|error| format!("{address}: {error}"))?;
            let source = Source::Server(Box::new(plan::open(&link).await?));
            in_json(take_in(desk, source, address, dry, &session.replies).await?)
        }
    }
}

fn export(snapshot: &Snapshot, form: Form, replies: &Replies) -> Result<Value, String> {
    let mut writer = LineWriter::default();
    let (mut last, mut count) = (None::<MailboxName>, 0_u64);
    if form == Form::CyrusJson {
        replies.blocking_item(&"{")?;
    }
    loop {
        let part = snapshot.chunk(last.as_ref(), CHUNK).map_err(|error| error.to_string())?;
        let Some((name, _)) = part.last() else { break };
        last = Some(name.clone());
        let mut text = String::new();
        for (name, entry) in &part {
            match form {
                Form::Jsonl => text += &writer.line(name, entry),
                Form::CyrusJson => {
                    text += if count == 0 { "\n" } else { ",\n" };
                    text += &dump::write_json(name, entry)?;
                }
            }
            count += 1;
        }
        replies.blocking_item(&text)?;
        replies.progress("names written", count, Some(snapshot.entries()));
    }
    match form {
        Form::Jsonl => replies.blocking_item(&writer.end())?,
        Form::CyrusJson => replies.blocking_item(&"\n}\n")?,
    }
    Ok(count.into())
}

/// Where another list comes from.
enum Source {
    Server(Box<Listing>),
    File(mpsc::Receiver<Result<Part, String>>),
}

type Part = Vec<(MailboxName, Entry)>;

impl Source {
    async fn next(&mut self) -> Result<Option<Part>, String> {
        match self {
            Self::Server(listing) => listing.next().await.map_err(|error| error.to_string()),
            Self::File(parts) => parts.recv().await.transpose(),
        }
    }
}

/// The bytes of an upload, for a thread that may be blocked.
struct Bytes {
    parts: mpsc::Receiver<Result<Vec<u8>, String>>,
    ahead: std::io::Cursor<Vec<u8>>,
}

impl Read for Bytes {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.ahead.read(to)? {
                0 => match self.parts.blocking_recv() {
                    None => return Ok(0),
                    Some(part) => self.ahead = std::io::Cursor::new(part.map_err(std::io::Error::other)?),
                },
                read => return Ok(read),
            }
        }
    }
}

/// Parses a dump while it arrives. Its end is either the end of the channel, or an error.
fn parse(mut upload: Upload, server: Option<String>) -> mpsc::Receiver<Result<Part, String>> {
    let (bytes, parts) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(part) = upload.next().await.transpose() {
            let broken = part.is_err();
            if bytes.send(part).await.is_err() || broken {
                return;
            }
        }
    });
    let (entries, parsed) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let reader = Bytes { parts, ahead: std::io::Cursor::default() };
        let mut batch = Part::new();
        let read = dump::read(reader, server.as_deref(), &mut |name, entry| {
            batch.push((name, entry));
            if batch.len() < BATCH {
                return Ok(());
            }
            entries
                .blocking_send(Ok(std::mem::take(&mut batch)))
                .map_err(|_| "nobody wants it any more".into())
        });
        // Who does not listen any more has an error of its own.
        let _ = entries.blocking_send(read.map(|_| batch).map_err(|error| error.to_string()));
    });
    parsed
}

/// Takes another list in: in the place of ours where that is not served, and elsewhere what it has more.
async fn take_in(
    desk: &Desk,
    mut source: Source,
    from: String,
    dry: bool,
    replies: &Replies,
) -> Result<TakenIn, String> {
    let replaces = desk.authority.standing().borrow().state == State::Learning;
    let store = desk.authority.store().clone();
    let failed = |error: crate::store::StoreError| error.to_string();
    let mut loader = if replaces && !dry { Some(store.begin_load().await.map_err(failed)?) } else { None };
    let mut planner = Planner::begin(&store).map_err(failed)?;
    let mut taken = TakenIn { from, replaces, entries: store.stats().entries, ..TakenIn::default() };
    while let Some(part) = source.next().await? {
        taken.read += part.len() as u64;
        replies.progress("names read", taken.read, None);
        if let Some(loader) = &mut loader {
            loader.put(part.clone()).await.map_err(failed)?;
        }
        planner = blocking(move || planner.push(part).map(|()| planner).map_err(failed)).await?;
    }
    if replaces {
        let (added, forgotten) = blocking(move || planner.counts().map_err(failed)).await?;
        (taken.added, taken.forgotten) = (added, forgotten);
        if let Some(loader) = loader {
            desk.authority.believe(loader, taken.from.clone()).await?;
        }
        return Ok(taken);
    }
    let guard = *desk.guard.get();
    let plan =
        blocking(move || planner.finish(Intent::Import, guard).map_err(|error| error.to_string())).await?;
    let (added, kept): (Vec<_>, Vec<_>) = plan.steps.into_iter().partition(|step| step.act == Act::Add);
    (taken.added, taken.kept) = (added.len() as u64, kept.len() as u64);
    for step in &kept {
        replies.item(&plan::line(step)).await?;
    }
    if !dry {
        add(desk, added, replies).await?;
    }
    Ok(taken)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Gives names to the murder, the way a backend does: whoever decides now decides about them.
async fn add(desk: &Desk, steps: Vec<PlanStep>, replies: &Replies) -> Result<(), String> {
    let origin = Origin::own("operator");
    let (total, mut done) = (steps.len() as u64, 0);
    let mut writes = steps.into_iter().filter_map(|PlanStep { name, after, .. }| {
        let Entry { location, state } = after?;
        Some(match state {
            EntryState::Reserved => Write::Reserve { name, location },
            EntryState::Active(acl) => Write::Activate { name, location, acl },
        })
    });
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.len() < AT_ONCE
            && let Some(write) = writes.next()
        {
            let name = write.name().clone();
            let outcome = desk.authority.write(origin.clone(), write);
            open.spawn(async move { (name, outcome.await) });
        }
        let Some(ended) = open.join_next().await else { return Ok(()) };
        let why = match ended.map_err(|error| error.to_string())? {
            (_, Outcome::Done) => None,
            (name, Outcome::Refused(refusal)) => Some(format!("{name}: {}", refusal.text())),
            (name, Outcome::Unavailable) => Some(format!("{name}: it cannot be taken in now")),
        };
        if let Some(why) = why {
            return Err(format!("{why}; {done} of {total} names were added, and it can be run again"));
        }
        done += 1;
        replies.progress("names added", done, Some(total));
    }
}
