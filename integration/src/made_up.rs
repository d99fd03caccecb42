//! Mailboxes that are made up, as many as are wanted: for lists that nobody could make through IMAP.

/// Where all of them are.
pub const LOCATION: &str = "be1.murder.test!default";

/// Mailboxes of a user.
const FOLDERS: u64 = 10;

/// The name in this place of the list: users with an inbox and nine folders, in Cyrus's order.
pub fn name(nth: u64) -> String {
    let (user, folder) = (nth / FOLDERS, nth % FOLDERS);
    match folder {
        0 => format!("user.u{user:07}"),
        folder => format!("user.u{user:07}.folder{folder}"),
    }
}

/// An access control list as a user's mailbox has it.
pub fn acl(name: &str) -> String {
    let user = name.split('.').nth(1).unwrap_or("anyone");
    format!("{user}\tlrswipkxtecdan\tcyrus\tlrswipkxtecdan\t")
}
