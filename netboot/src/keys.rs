//! Keys of disks. One half of each is in the machine's TPM, the other one here, and it is given to machines alone that show, by a quote, what
//! they booted.

pub mod credential;
pub mod verify;
