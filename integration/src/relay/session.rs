//! As much of a MUPDATE conversation as a fault needs to find its moment.

use std::collections::HashMap;

use crate::frames::words;

/// One line on its way, and what it means.
#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    /// The command, in capitals, if this is one.
    pub(super) request: Option<String>,
    /// The command that this line ends.
    pub(super) reply_to: Option<String>,
    /// Which ending reply of the connection this is.
    pub(super) nth_reply: Option<u32>,
    /// Which data line of the connection this is.
    pub(super) nth_data: Option<u32>,
    /// Whether the banner had been complete before this line.
    pub(super) greeted: bool,
    /// Whether authentication had succeeded before this line.
    pub(super) authenticated: bool,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    open: HashMap<String, String>,
    replies: u32,
    data: u32,
    greeted: bool,
    authenticated: bool,
}

impl Session {
    /// Takes note of a line from the client.
    pub(super) fn request(&mut self, frame: &[u8]) -> Event {
        let mut event = self.event();
        let (tag, word) = head(frame);
        // During authentication bare base64 lines go both ways: they have no second word.
        if !word.is_empty() {
            self.open.insert(tag, word.clone());
            event.request = Some(word);
        }
        event
    }

    /// Takes note of a line from the server.
    pub(super) fn reply(&mut self, frame: &[u8]) -> Event {
        let mut event = self.event();
        let (tag, word) = head(frame);
        let ends = matches!(word.as_str(), "OK" | "NO" | "BAD" | "BYE");
        if tag == "*" {
            self.greeted |= ends;
        } else if ends {
            self.replies += 1;
            event.nth_reply = Some(self.replies);
            event.reply_to = self.open.remove(&tag);
            self.authenticated |= word == "OK" && event.reply_to.as_deref() == Some("AUTHENTICATE");
        } else if matches!(word.as_str(), "MAILBOX" | "RESERVE" | "DELETE") {
            self.data += 1;
            event.nth_data = Some(self.data);
        }
        event
    }

    fn event(&self) -> Event {
        Event { greeted: self.greeted, authenticated: self.authenticated, ..Event::default() }
    }
}

fn head(frame: &[u8]) -> (String, String) {
    let mut words = words(frame).into_iter().map(|word| String::from_utf8_lossy(&word).into_owned());
    let tag = words.next().unwrap_or_default();
    (tag, words.next().unwrap_or_default().to_ascii_uppercase())
}
