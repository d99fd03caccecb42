//! What the store promises, through its public face.

mod basics;
