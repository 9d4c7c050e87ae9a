//! The RFCs, section by section: what each asks of us, through a whole speaker, in real bytes. One module for each RFC; the doc comment
//! of every test names the section. `cargo suite --stage conformance` counts them, the table in `README.md` lists them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

mod bfd_strict;
mod bytes;
mod dynamic;
mod fqdn;
mod guards;
mod path_options;
mod restarting;
mod rfc10005;
mod rfc1997;
mod rfc2545;
mod rfc2918;
mod rfc4271;
mod rfc4360;
mod rfc4456;
mod rfc4724;
mod rfc4760;
mod rfc5065;
mod rfc5492;
mod rfc5701;
mod rfc5882;
mod rfc6286;
mod rfc6396;
mod rfc6608;
mod rfc6793;
mod rfc6811;
mod rfc7313;
mod rfc7606;
mod rfc7607;
mod rfc7854;
mod rfc7911;
mod rfc8050;
mod rfc8092;
mod rfc8210;
mod rfc8212;
mod rfc8326;
mod rfc8538;
mod rfc8654;
mod rfc8671;
mod rfc8950;
mod rfc9003;
mod rfc9069;
mod rfc9072;
mod rfc9234;
mod rfc9234_otc;
mod rfc9384;
mod rfc9494;
mod rfc9687;
