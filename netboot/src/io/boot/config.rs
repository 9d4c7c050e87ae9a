//! Serves machines their configuration: Ignition, and the files of cloud-init's NoCloud.

use super::{Answer, Booter, text};
use crate::boot::Said;
use crate::boot::template::Kind;
use crate::boot::template::render::{Renderer, boot_servers};
use axum::http::{StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;

/// The Ignition configuration of the machine that asks.
const IGNITION: &str = "/boot/ignition";
/// Below it, by serial number, what cloud-init asks for.
const CLOUD_INIT: &str = "/boot/cloud-init/";

impl Booter {
    /// What is asked for, if it is a configuration.
    pub(super) fn config(&self, path: &str, query: &str, from: IpAddr) -> Option<Answer> {
        if path == IGNITION {
            return Some(self.rendered(&Said::of(query), Kind::Ignition, from));
        }
        let (serial, file) = path.strip_prefix(CLOUD_INIT)?.split_once('/')?;
        let kinds = [Kind::UserData, Kind::MetaData, Kind::VendorData, Kind::NetworkConfig];
        let kind = kinds.into_iter().find(|kind| kind.name() == file)?;
        let serial = percent_encoding::percent_decode_str(serial).decode_utf8_lossy().into_owned();
        Some(self.rendered(&Said { serial: Some(serial), ..Said::default() }, kind, from))
    }

    /// Ignition gives up at 404 and stops the machine, and asks again after 503; cloud-init does without a file at 404.
    fn rendered(&self, said: &Said, kind: Kind, from: IpAddr) -> Answer {
        let nothing = |why: &str| {
            let status = if kind == Kind::Ignition { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NOT_FOUND };
            text(status, &[(header::RETRY_AFTER, "5".to_owned())], why)
        };
        let (templates, machine, servers) = {
            let inventory = self.service.inventory();
            let Some(machine) = said.machine(&inventory, from).cloned() else {
                return nothing("nobody knows this machine\n");
            };
            let servers = boot_servers(inventory.machines().map(Arc::as_ref));
            (inventory.templates(), machine, servers)
        };
        let made = Renderer::new(&templates, servers).and_then(|renderer| renderer.render(&machine, kind));
        match made {
            Ok(Some((name, made))) => {
                tracing::info!(%from, serial = machine.serial, %kind, template = name, "gives a configuration");
                text(StatusCode::OK, &[], &made)
            }
            Ok(None) if kind == Kind::MetaData => {
                let host = format!("instance-id: {}\nlocal-hostname: {}\n", machine.serial, machine.name);
                text(StatusCode::OK, &[], &host)
            }
            Ok(None) => nothing("nobody said yet which template this machine gets\n"),
            Err(wrong) => {
                // It was right when it was set: something about the machine has changed since.
                tracing::error!(%from, serial = machine.serial, %kind, %wrong, "cannot make a configuration");
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &[(header::RETRY_AFTER, "5".to_owned())],
                    "it cannot be made now\n",
                )
            }
        }
    }
}
