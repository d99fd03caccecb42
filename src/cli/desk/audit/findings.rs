//! What an audit finds, told in the order of its finding, while what puts it right goes on.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use crate::admin::server::Replies;
use crate::admin::{Audited, Finding};

/// So many are put right at a time. Each write waits for the disk, the master and the streams, and they can wait together;
/// what else is written meanwhile does not have to wait behind thousands.
const AT_ONCE: usize = 16;

/// What is done about a finding.
pub(super) enum Remedy {
    /// Nothing: nobody asked for it, or it is for a person.
    Nothing,
    /// Nothing, for this reason.
    Refused(String),
    /// It is being written, and is called this when it is done. A client that hangs up does not end it.
    UnderWay(JoinHandle<Result<(), String>>, &'static str),
}

impl Remedy {
    fn is_known(&self) -> bool {
        match self {
            Self::Nothing | Self::Refused(_) => true,
            Self::UnderWay(writing, _) => writing.is_finished(),
        }
    }
}

/// The findings, and the figures of the audit.
pub(super) struct Findings<'a> {
    pub(super) replies: &'a Replies,
    pub(super) done: Audited,
    untold: VecDeque<(Finding, Remedy)>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(replies: &'a Replies) -> Self {
        Self { replies, done: Audited::default(), untold: VecDeque::new() }
    }

    /// Takes another one. Waits while too many are being put right.
    pub(super) async fn add(&mut self, finding: Finding, remedy: Remedy) -> Result<(), String> {
        self.untold.push_back((finding, remedy));
        self.tell(AT_ONCE - 1).await
    }

    /// Tells whatever is not told yet.
    pub(super) async fn finish(mut self) -> Result<Audited, String> {
        self.tell(0).await?;
        Ok(self.done)
    }

    /// Tells the first ones, until only so many are left, and the first of those is still being put right.
    async fn tell(&mut self, left: usize) -> Result<(), String> {
        let more = |untold: &VecDeque<(Finding, Remedy)>| {
            untold.len() > left || untold.front().is_some_and(|(_, remedy)| remedy.is_known())
        };
        while more(&self.untold) {
            let Some((finding, remedy)) = self.untold.pop_front() else { break };
            let (note, fixed) = match remedy {
                Remedy::Nothing => (None, false),
                Remedy::Refused(why) => (Some(why), false),
                Remedy::UnderWay(writing, called) => match writing.await {
                    Ok(Ok(())) => (Some(called.to_owned()), true),
                    Ok(Err(why)) => (Some(why), false),
                    Err(error) => (Some(error.to_string()), false),
                },
            };
            self.done.found += 1;
            self.done.fixed += u64::from(fixed);
            self.replies.item(&Finding { note, fixed, ..finding }).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Semaphore, mpsc};
    use tokio::time::Instant;

    use super::*;
    use crate::admin::{Fault, Line};
    use crate::list::Text;

    fn finding(nth: usize) -> Finding {
        let name = Text::new(format!("user.u{nth}").as_bytes());
        Finding { fault: Fault::Ghost, name, listed: None, age: None, there: None, note: None, fixed: false }
    }

    /// One that ends when somebody lets one end.
    fn writing(nth: usize, let_go: &Arc<Semaphore>) -> Remedy {
        let let_go = let_go.clone();
        let written = async move {
            let_go.acquire().await.map_err(|error| error.to_string())?.forget();
            if nth.is_multiple_of(3) { Err("no".to_owned()) } else { Ok(()) }
        };
        Remedy::UnderWay(tokio::spawn(written), "forgotten")
    }

    fn told(lines: &mut mpsc::Receiver<Line>) -> Vec<Finding> {
        let mut told = Vec::new();
        while let Ok(Line::Item(item)) = lines.try_recv() {
            told.push(serde_json::from_value(item).unwrap());
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_right_is_told_in_the_order_of_its_finding_and_so_many_at_a_time() {
        let (sender, mut lines) = mpsc::channel(100);
        let replies = Replies(sender);
        let (mut findings, let_go) = (Findings::new(&replies), Arc::new(Semaphore::new(0)));
        findings.add(finding(0), Remedy::Refused("for a person".to_owned())).await.unwrap();
        assert_eq!(told(&mut lines).len(), 1, "what is known is told at once");
        for nth in 1..AT_ONCE {
            findings.add(finding(nth), writing(nth, &let_go)).await.unwrap();
        }
        assert_eq!(told(&mut lines), [], "nothing is done yet");
        let one_more = async {
            findings.add(finding(AT_ONCE), writing(AT_ONCE, &let_go)).await.unwrap();
            Instant::now()
        };
        let one_ends = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let_go.add_permits(1);
            Instant::now()
        };
        let (added, let_one_go) = tokio::join!(one_more, one_ends);
        assert!(added >= let_one_go, "it waits for one to end");
        let_go.add_permits(AT_ONCE - 1);
        findings.add(finding(AT_ONCE + 1), Remedy::Nothing).await.unwrap();
        let done = findings.finish().await.unwrap();
        let told = told(&mut lines);
        let names: Vec<_> = told.iter().map(|finding| finding.name.to_string()).collect();
        assert_eq!(names, (1..AT_ONCE + 2).map(|nth| format!("user.u{nth}")).collect::<Vec<_>>());
        let fixed = told.iter().filter(|finding| finding.note.as_deref() == Some("forgotten")).count();
        let refused = told.iter().filter(|finding| finding.note.as_deref() == Some("no")).count();
        assert_eq!((fixed, refused), (11, 5));
        assert_eq!((done.found, done.fixed), (18, 11));
    }
}
