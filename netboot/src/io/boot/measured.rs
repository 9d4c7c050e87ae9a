//! What is known of a file that is made while it is sent: the digests that a TPM will have, and its signature.

use super::Booter;
use super::known::{Files, sum};
use super::sign::Signer;
use super::uki::Maker;
use crate::boot::Choice;
use crate::boot::authenticode::{HEAD_MAX, Layout, Sum};
use crate::boot::measure::{Measured, predict, sum as sum_of};
use crate::boot::uki::{Piece, Section, Uki};
use crate::error::Refusal;
use crate::keys::verify::Pcrs;
use std::io::{Error, Result};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// What is known.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) measured: Measured,
    /// Its certificate table, when somebody signs.
    pub(super) table: Option<Vec<u8>>,
}

impl Booter {
    /// What a TPM says after a machine loaded an image as one file, and the name of that image: `name`, or what the machine of this serial
    /// number boots, with what that machine has of its own.
    ///
    /// # Errors
    /// When this server makes no such files, or has not all of it, or there is nothing of these names.
    pub async fn pcrs(&self, name: Option<&str>, serial: Option<&str>) -> std::result::Result<(String, Pcrs), Refusal> {
        let rule = "write `boot: {uki: {stub: FILE, otherwise: LOADER}}` in its configuration";
        let maker = self.maker.as_ref();
        let maker = maker.ok_or_else(|| Refusal::conflict("", "this server makes no files for UEFI", rule))?;
        let refused = |why: String| Refusal::conflict("image", why, "ask a server that has its files: `image show`");
        let (name, uki) = self.asked(maker, name, serial)?;
        let missing = || refused("this server has not all of its files".to_owned());
        let files = self.open_all(&uki).await.ok_or_else(missing)?;
        let facts = maker.facts(&uki, &files).await.map_err(|error| refused(error.to_string()))?;
        Ok((name, predict(&facts.measured)))
    }

    fn asked(
        &self,
        maker: &Maker,
        name: Option<&str>,
        serial: Option<&str>,
    ) -> std::result::Result<(String, Uki), Refusal> {
        let inventory = self.service.inventory();
        let boots = inventory.boots().cloned().unwrap_or_default();
        let found = |serial: &str| inventory.machine(serial).ok_or_else(|| Refusal::not_found("machine", serial));
        let machine = serial.map(found).transpose()?.map(|held| held.value.as_ref());
        let chosen = match (name, machine) {
            (Some(name), _) => Some(name),
            (None, Some(machine)) => match boots.choice(Some(machine)) {
                Some(Choice::Image(name)) => Some(name.as_str()),
                Some(Choice::Disk) | None => None,
            },
            (None, None) => {
                let rule = "write ?image=NAME, ?machine=SERIAL or both";
                return Err(Refusal::invalid("", "neither image nor machine is said", rule));
            }
        };
        let rule = "pin one: `image pin NAME --machine SERIAL`";
        let name = chosen.ok_or_else(|| Refusal::conflict("machine", "it boots no image", rule))?;
        let image = boots.images.get(name).ok_or_else(|| Refusal::not_found("image", name))?;
        let own = self.own(&inventory, image, machine);
        let uki =
            maker.stub.build(name, image, own).map_err(|why| Refusal::conflict("image", why, "make it smaller"))?;
        Ok((name.to_owned(), uki))
    }
}

/// Finds it out. Reads all of the file.
///
/// # Errors
/// When a file of it cannot be read, or it cannot be signed.
pub(super) fn find_out(uki: &Uki, files: &Files, layout: &Layout, signer: Option<&Signer>) -> Result<Facts> {
    let program = sum(uki, files, &layout.digested())?;
    let sections = uki.sections.iter().map(|section| Ok((section.name, content(uki, files, section)?)));
    let sections = sections.collect::<Result<_>>()?;
    let linux = uki.sections.iter().find(|section| section.name == ".linux");
    let kernel = linux.map(|section| kernel(uki, files, section)).transpose()?.flatten();
    let table = signer.map(|signer| signer.table(&program)).transpose()?;
    Ok(Facts { measured: Measured { program, kernel, sections }, table })
}

/// The digest of what is in a section; that of one whole file is its name.
fn content(uki: &Uki, files: &Files, section: &Section) -> Result<Sum> {
    let Range { start, end } = section.octets;
    let mut parts = uki.parts(start, end);
    match (parts.next(), parts.next()) {
        (Some((Piece::File { digest, bytes }, part)), None) if part == (0..*bytes) => Ok(digest.octets()),
        (None, _) => Ok(sum_of(&[])),
        (Some(_), _) => sum(uki, files, std::slice::from_ref(&section.octets)),
    }
}

/// The digest of the kernel as a program; `None` when it is none.
fn kernel(uki: &Uki, files: &Files, section: &Section) -> Result<Option<Sum>> {
    let Range { start, end } = section.octets;
    let Some((Piece::File { digest, bytes }, _)) = uki.parts(start, end).next() else { return Ok(None) };
    let file = files.get(digest).ok_or_else(|| Error::from(std::io::ErrorKind::NotFound))?;
    let mut head = vec![0; usize::try_from(HEAD_MAX.min(*bytes)).unwrap_or_default()];
    file.read_exact_at(&mut head, 0)?;
    let Ok(layout) = Layout::read(&head, *bytes) else { return Ok(None) };
    let there = layout.digested().map(|range| start + range.start..start + range.end);
    sum(uki, files, &there).map(Some)
}
