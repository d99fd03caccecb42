//! MTAs at work: each tries its messages, one after the other, until it is told 250.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::ledger::{Accepted, Ledger, internal};
use super::schedule::Verb;
use crate::clients::{Lmtp, LmtpReply};
use crate::deadline::within;

/// How long before the next try.
const PAUSE: Duration = Duration::from_millis(300);
/// How long Ravenry may take to greet.
const KNOCK: Duration = Duration::from_secs(5);

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Mail {
    /// To whom.
    pub user: String,
    /// Into which folder.
    pub folder: Option<String>,
}

impl Mail {
    fn recipient(&self) -> String {
        match &self.folder {
            Some(folder) => format!("{}+{folder}", self.user),
            None => self.user.clone(),
        }
    }
}

/// An MTA.
#[derive(Debug)]
pub struct Mailer {
    /// Tells its messages from others'.
    pub name: String,
    /// Ravenry.
    pub lmtp: SocketAddr,
    /// What was promised.
    pub ledger: Ledger,
    /// What is to be sent.
    pub mail: mpsc::UnboundedReceiver<Mail>,
    /// What has no 250 by now is given up, which is no loss.
    pub given_up: Arc<AtomicBool>,
}

impl Mailer {
    /// Sends everything.
    pub async fn work(mut self) {
        let (mut session, mut count) = (None, 0);
        while let Some(mail) = self.mail.recv().await {
            count += 1;
            let id = format!("chaos-{}-{count}", self.name);
            if self.given_up.load(Ordering::Relaxed) {
                self.ledger.count(Verb::Deliver, |count| count.left_out += 1);
            } else {
                self.send(&mail, &id, &mut session).await;
            }
        }
    }

    async fn send(&self, mail: &Mail, id: &str, session: &mut Option<Lmtp>) {
        let (begun, mut events) = (self.ledger.now(), Vec::new());
        let told = |what: String| {
            format!("{:.3} {id} to {}: {what}", self.ledger.now().as_secs_f64(), mail.recipient())
        };
        while !self.given_up.load(Ordering::Relaxed) {
            if session.is_none() {
                *session = within(KNOCK, "LMTP", Lmtp::connect(self.lmtp)).await.ok();
            }
            let Some(lmtp) = session else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match lmtp.deliver_one(&mail.recipient(), id).await {
                Ok(delivery) if delivery.verdict().is_ok() => {
                    events.push(told(format!("{:?}", delivery.verdict())));
                    let folder = mail.folder.as_ref().map(|folder| internal(&mail.user, folder));
                    let user = mail.user.clone();
                    self.ledger.accepted(id, Accepted { user, folder, begun, events });
                    return self.ledger.count(Verb::Deliver, |count| count.done += 1);
                }
                Ok(delivery) => {
                    events.push(told(format!("{:?}", delivery.verdict())));
                    if delivery.verdict().is_permanent() {
                        return self.bounced(id, mail, delivery.verdict());
                    }
                }
                Err(error) => {
                    events.push(told(format!("{error:#}")));
                    *session = None;
                }
            }
            self.ledger.count(Verb::Deliver, |count| count.again += 1);
            tokio::time::sleep(PAUSE).await;
        }
        self.ledger.count(Verb::Deliver, |count| count.refused += 1);
    }

    /// Every recipient has a mailbox: its OK came before the message.
    fn bounced(&self, id: &str, mail: &Mail, reply: &LmtpReply) {
        let what =
            format!("{id} to {}, who has a mailbox, was refused for good: {reply:?}", mail.recipient());
        self.ledger.lost(&super::ledger::inbox(&mail.user), what);
        self.ledger.count(Verb::Deliver, |count| count.refused += 1);
    }
}
