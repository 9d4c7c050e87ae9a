//! The archive that a machine has of its own, for who asks for it.

use super::content::Content;
use super::{Answer, Booter, part_answer, text};
use crate::boot::{Choice, Digest, Image, Said, own};
use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Booter {
    /// What a machine has of its own in this image; `None` when the image is not weft's, or the plan has no place for the machine, which the log
    /// says.
    pub(super) fn own(&self, inventory: &Inventory, image: &Image, machine: Option<&Machine>) -> Option<Vec<u8>> {
        image.start.as_ref()?;
        let made = own::archive(inventory, machine, image, self.door);
        if let Err(refusal) = &made {
            let serial = machine.map(|machine| machine.serial.as_str());
            tracing::warn!(serial, error = %refusal, "a machine gets nothing of its own, and cannot be routed");
        }
        made.ok()
    }

    /// The archive of the machine that asks.
    pub(super) fn archive<T>(&self, request: &Request<T>, from: IpAddr) -> Answer {
        let inventory = self.service.inventory();
        let machine = Said::of(request.uri().query().unwrap_or_default()).machine(&inventory, from).map(Arc::as_ref);
        let boots = inventory.boots();
        let image = boots.and_then(|boots| match boots.choice(machine)? {
            Choice::Image(name) => boots.images.get(name),
            Choice::Disk => None,
        });
        let Some(octets) = image.and_then(|image| self.own(&inventory, image, machine)) else {
            self.counts.missing.fetch_add(1, Ordering::Relaxed);
            let why = "this machine has nothing of its own: its image is not weft's, or the plan does not say how it is routed\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, &[(header::RETRY_AFTER, "2".to_owned())], why);
        };
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        let tag = Digest::of(ring::digest::digest(&ring::digest::SHA256, &octets).as_ref());
        let (length, octets) = (u64::try_from(octets.len()).unwrap_or(u64::MAX), Bytes::from(octets));
        part_answer(request, &format!("\"{tag}\""), length, |from, to| {
            let at = |octet: u64| usize::try_from(octet).unwrap_or(octets.len()).min(octets.len());
            Content::from(octets.slice(at(from)..at(to)))
        })
    }
}
