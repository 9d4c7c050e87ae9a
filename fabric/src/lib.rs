//! The weft daemon as a library: pure machines at the top, effects under `io`.

pub mod link;
