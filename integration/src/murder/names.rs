//! How names are written in a murder: what `unixhierarchysep`, `altnamespace` and `virtdomains` make of them.

/// Of every node alike. A murder whose nodes differ in these does not work by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `unixhierarchysep`: `/` separates, and a dot is a part of a name.
    pub unix_separator: bool,
    /// `altnamespace`: a user's own folders are beside the inbox, not below it.
    pub alternate: bool,
    /// `virtdomains: userid`: a user `alice@example.net` is another than `alice`.
    pub domains: bool,
}

impl Names {
    /// An internal name (`user.alice.old`, `example.net!user.alice`) as an administrator writes it.
    pub fn for_admin(self, internal: &str) -> String {
        match internal.split_once('!') {
            Some((domain, local)) => format!("{}@{domain}", self.outward(local)),
            None => self.outward(internal),
        }
    }

    /// A user's own folder, given as `old.child`, as he writes it himself.
    pub fn own(self, folder: &str) -> String {
        let folder = self.outward(folder);
        match (self.alternate, self.unix_separator) {
            (true, _) => folder,
            (false, true) => format!("INBOX/{folder}"),
            (false, false) => format!("INBOX.{folder}"),
        }
    }

    /// The folder of an address: `alice+old.child`.
    pub fn of_address(self, folder: &str) -> String {
        self.outward(folder)
    }

    /// The internal name of a user's inbox.
    pub fn inbox(self, user: &str) -> String {
        match user.split_once('@') {
            Some((user, domain)) if self.domains => format!("{domain}!user.{}", user.replace('.', "^")),
            _ => format!("user.{}", user.replace('.', "^")),
        }
    }

    fn outward(self, name: &str) -> String {
        if self.unix_separator { name.replace('.', "/").replace('^', ".") } else { name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling() {
        let plain = Names::default();
        assert_eq!(plain.for_admin("user.alice.old"), "user.alice.old");
        assert_eq!(plain.own("old.child"), "INBOX.old.child");
        let all = Names { unix_separator: true, alternate: true, domains: true };
        assert_eq!(all.inbox("d.duck@example.net"), "example.net!user.d^duck");
        assert_eq!(all.for_admin("example.net!user.d^duck.old"), "user/d.duck/old@example.net");
        assert_eq!(all.own("old.child"), "old/child");
        assert_eq!(Names { alternate: false, ..all }.own("old"), "INBOX/old");
    }
}
