//! What an operator can do about what was found.

use super::result::{Result, Who};
use crate::cli::exit;

/// A certificate that ends within so many seconds is to be renewed: two weeks, as the alert has it.
const SOON: u64 = 14 * 24 * 3600;
/// Clocks that are further apart are not kept: certificates seem invalid, and logs cannot be compared.
const APART: i64 = 5;

/// Where something else answers, or nothing.
pub(super) fn port(who: &Who) -> String {
    let usual = match who.key {
        "imap.frontends" | "backends.addresses" => "143 for IMAP, 993 under TLS from the first byte",
        "lmtp.frontends" => "`listen=` of lmtpd in its cyrus.conf, often 24 or 2003",
        _ => "3905 for MUPDATE, `listen=` of mupdate in its cyrus.conf",
    };
    format!("Is it the right port ({usual}), and does Cyrus run there?")
}

/// Where nothing comes back.
pub(super) fn silent(who: &Who) -> String {
    format!("Does a firewall swallow it, or does Cyrus hang? {}", port(who))
}

/// What the network, or TLS, said.
pub(super) fn io(who: &Who, error: &std::io::Error) -> Result {
    let text = error.to_string();
    let certificate = text.contains("invalid peer certificate") || text.contains("certificate");
    let advice = if certificate {
        certificate_advice(&text)
    } else {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("Nothing listens there. {}", port(who)),
            std::io::ErrorKind::TimedOut => silent(who),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                "It hung up: its log may say why (too many connections, or a client that it does not allow)."
                    .to_owned()
            }
            _ if text.contains("lookup") || text.contains("name") => {
                "The name cannot be resolved: correct it, or write the address.".to_owned()
            }
            _ => port(who),
        }
    };
    let code = if certificate { exit::CONFIG } else { exit::UNAVAILABLE };
    Result::error(who, text, code, advice)
}

fn certificate_advice(text: &str) -> String {
    let advice = if text.contains("Expired") || text.contains("expired") {
        "Its certificate has run out: renew it there."
    } else if text.contains("NotValidYet") || text.contains("not valid yet") {
        "Its certificate is not valid yet: compare the clocks of both hosts."
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "Its certificate is for another name: write the address with the name that the certificate is for."
    } else if ["UnknownIssuer", "BadSignature"].iter().any(|kind| text.contains(kind)) {
        "Its certificate was signed by an authority that is not in the file of authorities (PEM): add that one."
    } else {
        "Its certificate cannot be used."
    };
    advice.to_owned()
}

/// No way of logging in that both sides know.
pub(super) fn mechanism(who: &Who, text: String) -> Result {
    let advice = "Offer SCRAM-SHA-256 there (`sasl_mech_list`, and the package libsasl2-modules), or PLAIN, which Cyrus \
                  offers in clear only with `allowplaintext: yes`.";
    Result::error(who, text, exit::CONFIG, advice)
}

/// STARTTLS is demanded here and not offered there.
pub(super) fn no_tls(who: &Who, text: String) -> Result {
    let advice = "It has no certificate (`tls_server_cert`, `tls_server_key`), or STARTTLS is switched off \
                  (`allowstarttls`, off by default in newer releases); or take the file of authorities out of the configuration.";
    Result::error(who, text, exit::CONFIG, advice)
}

/// A host whose like has no way to log in here, unless PLAIN will do: Debian 11's Cyrus SASL has no SCRAM (no `libscram.so`).
pub(super) fn scram(result: Result, version: &str, plain_will_do: bool) -> Result {
    if plain_will_do || !version.contains("deb11") {
        return result;
    }
    result.but(
        "on Debian 11, whose Cyrus SASL has no SCRAM",
        "Hosts like it log in here only with PLAIN: mupdate.allow_plaintext, or a certificate and mupdate.require_tls.",
    )
}

/// A certificate that will not last, and a clock that goes wrong.
pub(super) fn lasting(result: Result, ends: Option<u64>, clock: Option<u64>, now: u64) -> Result {
    let left = ends.map(|ends| ends.saturating_sub(now)).filter(|left| *left < SOON);
    let result = match left {
        Some(left) => {
            result.but(&format!("its certificate ends in {} days", left / 86_400), "Renew it before that.")
        }
        None => result,
    };
    let ahead = clock.and_then(|clock| i64::try_from(clock).ok()?.checked_sub(i64::try_from(now).ok()?));
    let mut result = match ahead {
        Some(ahead) if ahead.abs() > APART => {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            result.but(
                &format!("its clock is {} s {way} ours", ahead.abs()),
                "Let both hosts keep time (`timedatectl`): certificates and logs depend on it.",
            )
        }
        _ => result,
    };
    result.clock_ahead = ahead;
    result
}

#[cfg(test)]
mod tests {
    use super::super::result::Verdict;
    use super::*;

    fn who() -> Who {
        Who::new("master", "master.address", "mm:3905")
    }

    #[test]
    fn certificates_that_end_soon_and_clocks_that_go_wrong_are_warned_of() {
        let now = 1_800_000_000;
        let fine = lasting(Result::ok(&who(), "in"), Some(now + SOON), Some(now - 5), now);
        assert_eq!((fine.verdict, fine.clock_ahead, fine.text.as_str()), (Verdict::Ok, Some(-5), "in"));
        let wrong = lasting(Result::ok(&who(), "in"), Some(now + 86_400), Some(now + 3600), now);
        assert_eq!(wrong.verdict, Verdict::Warning);
        assert_eq!(wrong.text, "in; its certificate ends in 1 days; its clock is 3600 s ahead of ours");
        let advice = wrong.advice.unwrap();
        assert!(advice.contains("Renew") && advice.contains("timedatectl"), "{advice}");
        let slow = lasting(Result::ok(&who(), "in"), None, Some(now - 60), now);
        assert!(slow.text.contains("60 s behind ours"), "{}", slow.text);
    }

    #[test]
    fn who_has_no_scram_is_warned_of_where_nothing_else_will_do() {
        let of = |version, plain_will_do| scram(Result::ok(&who(), "in"), version, plain_will_do).verdict;
        assert_eq!(of("3.2.6-Debian-3.2.6-2+deb11u2", false), Verdict::Warning);
        assert_eq!(of("3.2.6-Debian-3.2.6-2+deb11u2", true), Verdict::Ok);
        assert_eq!(of("3.6.1-Debian-3.6.1-4+deb12u4", false), Verdict::Ok);
    }

    #[test]
    fn what_the_network_says_becomes_a_sentence() {
        let said = |text: &str| io(&who(), &std::io::Error::other(text.to_owned()));
        for (text, told) in [
            ("invalid peer certificate: Expired", "has run out"),
            ("invalid peer certificate: certificate not valid for name \"x\"", "for another name"),
            ("invalid peer certificate: UnknownIssuer", "authority"),
            ("invalid peer certificate: certificate not valid yet", "clocks"),
            ("failed to lookup address information", "resolved"),
        ] {
            assert!(said(text).advice.unwrap().contains(told), "{text}");
        }
        let refused = io(&who(), &std::io::ErrorKind::ConnectionRefused.into());
        assert!(refused.code == exit::UNAVAILABLE && refused.advice.unwrap().contains("Nothing listens"));
        assert_eq!(said("invalid peer certificate: Expired").code, exit::CONFIG);
    }
}
