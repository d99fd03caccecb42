//! What a session shows of the murder: names as the client writes them, told to others as Cyrus keeps them.

use ravenry_parsers::imap::Namespace;

use super::Observer;
use super::conversation::Notice;
use super::outcome::Acted;
use crate::list::MailboxName;

/// Notices that wait until it is known how names are written.
const WAITING: usize = 64;

/// What is known of a session. Where the user or the way of writing names is not known, nothing is told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    user: Option<Vec<u8>>,
    utf8: bool,
    namespace: Option<Box<Namespace>>,
    waiting: Vec<Notice>,
}

impl Watch {
    /// `user`: who logged in, where the login showed it. Cyrus folds names of users to lower case.
    pub(super) fn new(user: Option<Vec<u8>>) -> Self {
        Self { user: user.map(|user| user.to_ascii_lowercase()), ..Self::default() }
    }

    /// Takes notices; answers whether the frontend is to be asked how it writes names.
    pub(super) fn notice(&mut self, notices: Vec<Notice>, observer: &dyn Observer) -> bool {
        for notice in notices {
            match notice {
                Notice::Namespace(reply) => {
                    let user = self.user.as_deref().unwrap_or_default();
                    self.namespace = Namespace::parse(&reply, user, self.utf8).map(Box::new);
                    for waiting in std::mem::take(&mut self.waiting) {
                        self.tell(&waiting, observer);
                    }
                }
                Notice::Confirmed(Acted::Utf8) => {
                    self.utf8 = true;
                    if let Some(namespace) = &mut self.namespace {
                        namespace.utf8 = true;
                    }
                }
                Notice::Confirmed(Acted::Create(_) | Acted::Acl(_) | Acted::Namespace) => {}
                notice if self.namespace.is_some() || self.user.is_none() => self.tell(&notice, observer),
                notice if self.waiting.len() < WAITING => self.waiting.push(notice),
                _ => {}
            }
        }
        !self.waiting.is_empty()
    }

    fn tell(&self, notice: &Notice, observer: &dyn Observer) {
        match notice {
            Notice::Confirmed(acted @ (Acted::Delete(_) | Acted::Rename(..))) => {
                if let Some(name) = self.internal(acted) {
                    observer.gone(name);
                }
            }
            Notice::NoMaster(acted, text) => {
                observer.without_master(acted.word(), self.internal(acted), text);
            }
            Notice::Confirmed(_) | Notice::Namespace(_) => {}
        }
    }

    fn internal(&self, acted: &Acted) -> Option<MailboxName> {
        self.user.as_ref()?;
        let name = self.namespace.as_ref()?.internal(acted.mailbox()?)?;
        MailboxName::new(&name).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Observer for Told {
        fn gone(&self, name: MailboxName) {
            self.0.lock().unwrap().push(format!("gone {name}"));
        }
        fn without_master(&self, command: &'static str, name: Option<MailboxName>, text: &str) {
            let name = name.map_or("?".to_owned(), |name| name.to_string());
            self.0.lock().unwrap().push(format!("{command} {name}: {text}"));
        }
    }

    fn namespace() -> Notice {
        Notice::Namespace(b"* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))\r\n".to_vec())
    }

    fn deleted(name: &str) -> Notice {
        Notice::Confirmed(Acted::Delete(name.into()))
    }

    #[test]
    fn what_is_confirmed_is_told_once_it_is_known_how_names_are_written() {
        let (told, mut watch) = (Told::default(), Watch::new(Some(b"Alice".to_vec())));
        assert!(!watch.notice(vec![Notice::Confirmed(Acted::Create(b"INBOX.x".to_vec()))], &told));
        assert!(watch.notice(vec![deleted("INBOX.x")], &told), "the frontend is asked");
        assert!(told.0.lock().unwrap().is_empty());
        assert!(!watch.notice(vec![namespace(), deleted("user.bob.y"), deleted("INBOX.a!b")], &told));
        let rename = Notice::Confirmed(Acted::Rename(b"INBOX.old".to_vec(), b"INBOX.new".to_vec()));
        let refused = Notice::NoMaster(Acted::Create(b"INBOX.n".to_vec()), "mupdate".into());
        watch.notice(vec![rename, refused], &told);
        let told = told.0.into_inner().unwrap();
        let expected =
            ["gone user.alice.x", "gone user.bob.y", "gone user.alice.old", "create user.alice.n: mupdate"];
        assert_eq!(told, expected);
    }

    #[test]
    fn of_a_user_who_is_not_known_nothing_is_told() {
        let (told, mut watch) = (Told::default(), Watch::new(None));
        assert!(!watch.notice(vec![deleted("INBOX.x"), namespace(), deleted("user.bob")], &told));
        assert!(told.0.into_inner().unwrap().is_empty());
    }
}
