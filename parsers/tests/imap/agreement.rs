//! Commands and responses that imap-codec makes up, and bytes that nobody made up.

use proptest::prelude::*;

use crate::oracle::{check_client, check_server};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn others_read_the_same_in_commands(recipe in prop::collection::vec(any::<u8>(), 0..300)) {
        check_client(&recipe);
    }

    #[test]
    fn others_read_the_same_in_responses(recipe in prop::collection::vec(any::<u8>(), 0..300)) {
        check_server(&recipe);
    }
}
