//! What becomes of one recipient: the table, and nothing else. Pure.
//!
//! | the frontend | the mailbox is known | surely absent | unknown |
//! |---|---|---|---|
//! | 2xx | passed on | passed on | passed on |
//! | 4xx | queued, 250 | passed on | passed on |
//! | nothing: unreachable, too slow, cut off, at fault | queued, 250 | 451 | 451 |
//! | 550 5.1.1: no such mailbox | queued, 250 | passed on | 451 |
//! | another 5xx for this recipient | passed on | passed on | passed on |
//!
//! With `defer = "relay"` nothing is queued: a 4xx is passed on, and where the table says "queued" of anything else
//! the answer is 451.
//!
//! - *Known*: the list holds the mailbox, or a frontend accepted the recipient in this very transaction.
//! - *Surely absent*: the list is current ([`Namespace::is_current`](crate::authority::namespace::Namespace)) and
//!   does not hold it. That alone refuses nobody: the frontend has to say so, too (rule 8).
//! - *Unknown*: everything else, also an address whose mailbox cannot be told. Never 250, which could end in a
//!   bounce to somebody who never wrote; never 5xx.

use ravenry_parsers::lmtp::{Enhanced, Reply};

use crate::rules::{Rule, kept};

/// What is known of the recipient's mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// It exists.
    Known,
    /// It does not exist.
    Absent,
    /// One or the other.
    Unknown,
}

/// What a frontend had to say about a recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// This.
    Reply(Reply),
    /// Nothing, or something that is about the frontend and not about the recipient: why.
    Nothing(String),
}

impl Heard {
    /// What a reply to RCPT, or after DATA, is about. `421`, `430` and `530` are about the frontend: it is closing,
    /// or wants a login (Cyrus says 430 or 530 then).
    pub fn about_recipient(reply: Reply) -> Self {
        match reply.code {
            200..=299 => Self::Reply(reply),
            421 | 430 | 530 => Self::Nothing(reply.to_string()),
            400..=599 => Self::Reply(reply),
            _ => Self::Nothing(format!("an answer out of place: {reply}")),
        }
    }
}

/// What is done with what Ravenry cannot deliver now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defer {
    /// It is queued, and answered 250.
    #[default]
    Queue,
    /// The MTA keeps it.
    Relay,
}

/// What becomes of a recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is answered what the frontend said.
    Pass(Reply),
    /// It is ours from now on: 250 once that is durable.
    Queue,
    /// It is answered 451, with a reason.
    TryLater(String),
}

/// Whether a reply says that there is no such mailbox: 550, with an enhanced code about the address or without one.
pub fn says_no_such_mailbox(reply: &Reply) -> bool {
    reply.code == 550 && matches!(reply.enhanced(), None | Some(Enhanced(5, 1, _)))
}

/// The table.
pub fn decide(heard: Heard, knowledge: Knowledge, defer: Defer) -> Decision {
    let queue = |else_because: &str| match defer {
        Defer::Queue => Decision::Queue,
        Defer::Relay => Decision::TryLater(else_because.to_owned()),
    };
    match (heard, knowledge) {
        (Heard::Nothing(why), Knowledge::Known) => queue(&why),
        (Heard::Nothing(why), Knowledge::Absent | Knowledge::Unknown) => Decision::TryLater(why),
        (Heard::Reply(reply), Knowledge::Known) if reply.is_temporary() => match defer {
            Defer::Queue => Decision::Queue,
            Defer::Relay => Decision::Pass(reply),
        },
        (Heard::Reply(reply), knowledge) if says_no_such_mailbox(&reply) => match knowledge {
            Knowledge::Known => queue("the frontend does not know this mailbox yet"),
            Knowledge::Absent => Decision::Pass(reply),
            Knowledge::Unknown if !kept(Rule::NoRefusalOutOfIgnorance) => Decision::Pass(reply),
            Knowledge::Unknown => Decision::TryLater("whether this mailbox exists is not known now".into()),
        },
        (Heard::Reply(reply), _) => Decision::Pass(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(code: u16, text: &str) -> Heard {
        Heard::about_recipient(Reply::new(code, text))
    }

    /// The table above, row by row.
    #[test]
    fn every_row_of_the_table() {
        use Knowledge::{Absent, Known, Unknown};
        let ok = || heard(250, "2.1.5 ok");
        let later = || heard(451, "4.4.3 Server(s) unavailable to complete operation");
        let quota = || heard(552, "5.2.2 Over quota");
        let gone = || heard(550, "5.1.1 User unknown");
        let nothing = || Heard::Nothing("no frontend answers".into());
        let word = |decision: Decision| match decision {
            Decision::Pass(reply) => reply.code.to_string(),
            Decision::Queue => "queue".into(),
            Decision::TryLater(_) => "451".into(),
        };
        type Row<'a> = (&'a dyn Fn() -> Heard, [&'a str; 3], [&'a str; 3]);
        let rows: [Row<'_>; 5] = [
            (&ok, ["250"; 3], ["250"; 3]),
            (&later, ["queue", "451", "451"], ["451"; 3]),
            (&nothing, ["queue", "451", "451"], ["451"; 3]),
            (&gone, ["queue", "550", "451"], ["451", "550", "451"]),
            (&quota, ["552"; 3], ["552"; 3]),
        ];
        for (heard, queue, relay) in rows {
            for (at, knowledge) in [Known, Absent, Unknown].into_iter().enumerate() {
                let said = format!("{:?} {knowledge:?}", heard());
                assert_eq!(word(decide(heard(), knowledge, Defer::Queue)), queue[at], "{said}");
                assert_eq!(word(decide(heard(), knowledge, Defer::Relay)), relay[at], "{said}");
            }
        }
    }

    #[test]
    fn what_is_about_the_frontend_is_not_about_the_recipient() {
        for code in [421, 430, 530, 354, 330] {
            assert!(matches!(heard(code, "x"), Heard::Nothing(_)), "{code}");
        }
    }

    #[test]
    fn a_mailbox_is_denied_in_the_words_of_any_release() {
        let denies = |code, text| says_no_such_mailbox(&Reply::new(code, text));
        assert!(
            denies(550, "5.1.1 User unknown") && denies(550, "User unknown") && denies(550, "5.1.6 Moved")
        );
        assert!(!denies(550, "5.7.1 Not authorized") && !denies(554, "5.1.1 x") && !denies(552, "5.2.2 x"));
    }

    /// Whether somebody is refused for good when a frontend denies his mailbox and the list cannot tell.
    fn denies_out_of_ignorance() -> bool {
        let decision = decide(heard(550, "5.1.1 User unknown"), Knowledge::Unknown, Defer::Queue);
        matches!(decision, Decision::Pass(reply) if reply.code >= 500)
    }

    #[test]
    fn rule_8_nobody_is_refused_for_good_out_of_ignorance() {
        assert!(!denies_out_of_ignorance());
    }

    #[test]
    fn without_rule_8_mail_for_a_new_mailbox_bounces() {
        let _off = crate::rules::without(Rule::NoRefusalOutOfIgnorance);
        assert!(denies_out_of_ignorance());
    }

    fn any_heard() -> impl Strategy<Value = Heard> {
        let enhanced = prop_oneof![
            Just(String::new()),
            (0u16..10, 0u16..10).prop_map(|(subject, detail)| format!("{subject}.{detail} "))
        ];
        let reply = (200u16..600, enhanced).prop_map(|(code, enhanced)| {
            let class = if enhanced.is_empty() { String::new() } else { format!("{}.", code / 100) };
            Heard::about_recipient(Reply::new(code, &format!("{class}{enhanced}text")))
        });
        prop_oneof![1 => "[a-z]{0,9}".prop_map(Heard::Nothing), 4 => reply]
    }

    fn any_knowledge() -> impl Strategy<Value = Knowledge> {
        prop_oneof![Just(Knowledge::Known), Just(Knowledge::Absent), Just(Knowledge::Unknown)]
    }

    fn any_defer() -> impl Strategy<Value = Defer> {
        prop_oneof![Just(Defer::Queue), Just(Defer::Relay)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn rules_8_and_9(heard in any_heard(), knowledge in any_knowledge(), defer in any_defer()) {
            let denied = matches!(&heard, Heard::Reply(reply) if says_no_such_mailbox(reply));
            let delivered = matches!(&heard, Heard::Reply(reply) if reply.is_positive());
            match decide(heard.clone(), knowledge, defer) {
                Decision::Pass(reply) => {
                    // Nothing is invented, and nobody is refused for good out of ignorance (rule 8).
                    prop_assert_eq!(&heard, &Heard::Reply(reply.clone()));
                    prop_assert!(reply.code >= 200 && !(300..400).contains(&reply.code));
                    prop_assert!(!denied || knowledge == Knowledge::Absent);
                    // A 2xx is the frontend's own: the message is delivered (rule 9).
                    prop_assert_eq!(reply.is_positive(), delivered);
                }
                Decision::Queue => {
                    // What could bounce to a stranger is never taken, and what is delivered never twice.
                    prop_assert_eq!(knowledge, Knowledge::Known);
                    prop_assert_eq!(defer, Defer::Queue);
                    prop_assert!(!delivered);
                }
                Decision::TryLater(_) => {
                    prop_assert!(!delivered);
                    // A frontend's word about a recipient is withheld only when it denies a mailbox.
                    prop_assert!(denied || matches!(heard, Heard::Nothing(_)));
                }
            }
        }
    }
}
