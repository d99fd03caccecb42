//! The harness of the real-Cyrus stories.
