//! What machines get, and those who read it there: what we call right they take, and what they refuse we refuse too, with the field where it
//! is. `ignition-validate` (Debian: ignition) is that of `WEFT_IGNITION_VALIDATE`, or of the system. The stage `netboot` fetches it; where it
//! is not, only our own verdict is tested.
#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test helper fails by panicking")]

mod cloud;
mod ignition;
