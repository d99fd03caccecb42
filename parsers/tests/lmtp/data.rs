//! Messages, and the ways in which one was made to look like two.

use proptest::prelude::*;

use crate::invariants::{check_data, message, stuffed};

#[test]
fn dots_are_undoubled_and_doubled() {
    let wire = b"..a\r\n.b\r\n...\r\n a.\r\n.\r\nQUIT\r\n";
    let (whole, ended, left) = message(wire, &[]);
    assert!(ended);
    assert_eq!((&whole[..], &left[..]), (&b".a\r\nb\r\n..\r\n a.\r\n"[..], &b"QUIT\r\n"[..]));
    assert_eq!(&stuffed(b".a\r\n..\r\nb", &[])[..], b"..a\r\n...\r\nb\r\n.\r\n");
    assert_eq!(&stuffed(b"", &[])[..], b".\r\n");
    check_data(wire);
}

/// What any of two servers has been known to take for an end of data. Behind it stands the smuggled message.
const FALSE_ENDS: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\n\n.\n\n",
    b"\r\n..\n",
    b"\r\r.\r\r\n",
];

#[test]
fn nothing_but_crlf_dot_crlf_ends_a_message() {
    for end in FALSE_ENDS {
        let wire = [b"Subject: x\r\n\r\nbefore", end, b"MAIL FROM:<evil@example.org>\r\nDATA\r\n"].concat();
        let (whole, ended, _) = message(&wire, &[]);
        assert!(!ended, "{end:?}");
        let smuggled = whole.windows(10).any(|window| window == b"MAIL FROM:");
        assert!(smuggled, "{end:?}: what follows is part of the message");
        check_data(&wire);
        check_data(&[&wire[..], b"\r\n.\r\n"].concat());
    }
}

#[test]
fn bare_line_ends_are_given_on_as_cyrus_stores_them() {
    let (whole, ended, _) = message(b"a\nb\rc\n.\nd\r\r\n\n\r\n.\r\n", &[]);
    assert!(ended);
    assert_eq!(whole, b"a\r\nbc\r\n.\r\nd\r\n\r\n\r\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_data(&bytes);
    }

    #[test]
    fn line_ends_and_dots(parts in proptest::collection::vec(
        prop_oneof![Just("\r"), Just("\n"), Just("\r\n"), Just("."), Just("a"), Just("\r\n.\r\n")], 0..40)) {
        check_data(parts.concat().as_bytes());
    }
}
