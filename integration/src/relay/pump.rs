//! Moving one connection's lines in both directions, past the faults.

use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::session::{Event, Session};
use super::{Action, Shared, lock};
use crate::frames::Frames;
use crate::transcript::{Side, Transcript};

/// What is left to do with a line after the faults have had their way.
enum Verdict {
    Forward,
    Drop,
    Cut,
}

/// How a direction ended.
enum End {
    Closed,
    Cut,
}

/// How long a server may take to answer a client that has hung up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Forwards until either side closes or a fault cuts the connection.
pub(super) async fn run(client: TcpStream, server: TcpStream, shared: &Shared, tape: &Mutex<Transcript>) {
    // Replies are counted in time, not in bytes: nothing may wait for a fuller segment.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let session = Mutex::new(Session::default());
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let requests = Pump { side: Side::Client, shared, session: &session, tape };
    let replies = Pump { side: Side::Server, shared, session: &session, tape };
    let mut replies = pin!(replies.run(server_in, client_out));
    tokio::select! {
        end = requests.run(client_in, server_out) => {
            // Cyrus's clients hang up without hearing the reply to LOGOUT: it still belongs on the tape.
            if matches!(end, Ok(End::Closed)) {
                let _ = tokio::time::timeout(FAREWELL, replies).await;
            }
        }
        _ = &mut replies => {}
    }
}

/// One direction.
struct Pump<'a> {
    side: Side,
    shared: &'a Shared,
    session: &'a Mutex<Session>,
    tape: &'a Mutex<Transcript>,
}

impl Pump<'_> {
    async fn run(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<End> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            let bytes = buffer.get(..length).unwrap_or_default();
            lock(self.tape).say(self.side, bytes);
            if bytes.is_empty() {
                // An unfinished line, such as the NUL that Cyrus sends after a BYE, belongs to the conversation.
                to.write_all(&frames.rest()).await?;
                to.shutdown().await?;
                return Ok(End::Closed);
            }
            frames.feed(bytes);
            let mut ready = Vec::new();
            while let Some(frame) = frames.next_frame() {
                match self.judge(&frame, &mut ready, &mut to).await? {
                    Verdict::Forward => ready.push(frame),
                    Verdict::Drop => {}
                    Verdict::Cut => return Ok(End::Cut),
                }
            }
            // What came together goes together: two commands in one segment are more than one after the other.
            flush(&mut ready, &mut to).await?;
        }
    }

    /// Lets the faults act on a line, which may take as long as they last. What is ready goes out before a wait.
    async fn judge(
        &self,
        frame: &[u8],
        ready: &mut Vec<Bytes>,
        to: &mut OwnedWriteHalf,
    ) -> io::Result<Verdict> {
        let event = {
            let mut session = lock(self.session);
            match self.side {
                Side::Client => session.request(frame),
                Side::Server => session.reply(frame),
            }
        };
        let Some(action) = self.shared.action_on(&event) else {
            return Ok(Verdict::Forward);
        };
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        flush(ready, to).await?;
        match action {
            Action::Swallow => Ok(Verdict::Drop),
            Action::Cut => Ok(Verdict::Cut),
            Action::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(Verdict::Forward)
            }
            Action::Hang => {
                self.healed(&event).await;
                Ok(Verdict::Forward)
            }
        }
    }

    /// Waits until no fault makes this line hang.
    async fn healed(&self, event: &Event) {
        let mut faults = self.shared.faults.subscribe();
        // It ends with an error when the relay is gone, and then so is the connection.
        let _ = faults.wait_for(|faults| !faults.iter().any(|fault| fault.holds(event))).await;
    }
}

async fn flush(ready: &mut Vec<Bytes>, to: &mut OwnedWriteHalf) -> io::Result<()> {
    if !ready.is_empty() {
        let all = ready.concat();
        ready.clear();
        to.write_all(&all).await?;
    }
    Ok(())
}
