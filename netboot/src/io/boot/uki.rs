//! The image of a machine as one file for UEFI, made while it is sent: only the stub is in memory.

use super::content::{Chunk, Content};
use super::known::{Files, Known};
use super::measured::{Facts, find_out};
use super::sign::Signer;
use super::{Answer, Booter, part_answer, text};
use crate::boot::attempts::What;
use crate::boot::rules::Uki as Rules;
use crate::boot::uki::{Piece, STUB_MAX, Stub, Uki};
use crate::boot::{Choice, Said, ipxe};
use anyhow::Context as _;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is needed to make one.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) stub: Stub,
    /// What who cannot have one loads.
    otherwise: String,
    signer: Option<Arc<Signer>>,
    known: Known<Facts>,
}

impl Maker {
    pub(super) fn new(rules: &Rules, signer: Option<Arc<Signer>>) -> anyhow::Result<Self> {
        let shown = || format!("boot.uki.stub: {}", rules.stub.display());
        let length = std::fs::metadata(&rules.stub).with_context(shown)?.len();
        anyhow::ensure!(length <= STUB_MAX, "{}: {length} octets: at most {STUB_MAX}", shown());
        let stub = Stub::read(std::fs::read(&rules.stub).with_context(shown)?);
        let stub = stub.map_err(|wrong| anyhow::anyhow!("{}: {wrong}", shown()))?;
        Ok(Self { stub, otherwise: rules.otherwise.clone(), signer, known: Known::new() })
    }

    /// The architecture for which it makes signed files, as iPXE calls it.
    pub(super) fn signs_for(&self) -> Option<&'static str> {
        self.signer.as_ref().and_then(|_| self.stub.architecture())
    }

    /// What is known of a file of these files.
    pub(super) async fn facts(&self, uki: &Uki, files: &Files) -> std::io::Result<Arc<Facts>> {
        let layout = uki.layout().map_err(std::io::Error::other)?;
        let (whole, files, signer) = (uki.clone(), files.clone(), self.signer.clone());
        self.known.of(uki, move || find_out(&whole, &files, &layout, signer.as_deref())).await
    }

    /// The file with its signature, when somebody signs.
    async fn signed(&self, uki: Uki, files: &Files) -> std::io::Result<Uki> {
        if self.signer.is_none() {
            return Ok(uki);
        }
        let table = self.facts(&uki, files).await?.table.clone().unwrap_or_default();
        let layout = uki.layout().map_err(std::io::Error::other)?;
        uki.with_table(&layout, table).ok_or_else(|| std::io::Error::other("there is no place for a signature"))
    }
}

impl Booter {
    /// The image of the machine that asks; the loader `otherwise` when it has none, or boots from its disk: then its script says so. Who
    /// comes from a script gets nothing else instead: it would run that script again, one iPXE within the other.
    pub(super) async fn uki<T>(&self, maker: &Maker, request: &Request<T>, from: IpAddr) -> Answer {
        let uki = self.image(maker, request.uri().query().unwrap_or_default(), from);
        let made = match uki {
            Some((uki, who)) => self.made(maker, uki).await.map(|(uki, files)| (uki, files, who)),
            None => None,
        };
        let Some((uki, files, who)) = made else {
            return match request.uri().path() {
                ipxe::SIGNED => {
                    text(StatusCode::SERVICE_UNAVAILABLE, &[], "nothing to boot in one signed file: ask the script\n")
                }
                _ => self.loader(&maker.otherwise, request),
            };
        };
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        let (tag, length) = (format!("\"{}\"", uki.tag), uki.length);
        part_answer(request, &tag, length, |first, to| {
            self.counts.octets.fetch_add(to - first, Ordering::Relaxed);
            let whole = who.filter(|_| to == length).map(|who| self.seen.when_whole(to - first, who, from));
            Content { chunks: chunks(&uki, &files, (first, to)), whole }
        })
    }

    /// The image, and who has it when it has come whole.
    fn image(&self, maker: &Maker, query: &str, from: IpAddr) -> Option<(Uki, Option<(String, What)>)> {
        let inventory = self.service.inventory();
        let machine = Said::of(query).machine(&inventory, from).map(Arc::as_ref);
        if machine.is_some_and(|machine| inventory.hold(machine).is_some()) {
            return None;
        }
        let boots = inventory.boots()?;
        let Some(Choice::Image(name)) = boots.choice(machine) else { return None };
        let image = boots.images.get(name)?;
        let built = maker.stub.build(name, image, self.own(&inventory, image, machine));
        let serial = machine.map(|machine| machine.serial.as_str());
        match &built {
            Ok(uki) => tracing::info!(%from, serial, image = name, octets = uki.length, "makes one file of an image"),
            Err(error) => tracing::warn!(%from, serial, %error, "cannot make one file of an image"),
        }
        let who = serial.map(|serial| (serial.to_owned(), What::OneFile { image: name.clone() }));
        built.ok().map(|uki| (uki, who))
    }

    /// The file as it is sent, and the files that it is made of; `None` when one is not here, or nobody can sign it.
    async fn made(&self, maker: &Maker, uki: Uki) -> Option<(Uki, Files)> {
        let files = self.open_all(&uki).await?;
        match maker.signed(uki, &files).await {
            Ok(uki) => Some((uki, files)),
            Err(error) => {
                tracing::error!(%error, "cannot sign what a machine is to boot");
                None
            }
        }
    }

    /// Its files; `None` when one is not here.
    pub(super) async fn open_all(&self, uki: &Uki) -> Option<Files> {
        let mut files = Files::new();
        for piece in &uki.pieces {
            let Piece::File { digest, bytes } = piece else { continue };
            let (file, length) = self.blobs.open_file(digest).await.ok()?;
            if length != *bytes {
                return None;
            }
            files.insert(digest.clone(), Arc::new(file));
        }
        Some(files)
    }
}

fn chunks(uki: &Uki, files: &Files, (from, to): (u64, u64)) -> Vec<Chunk> {
    let chunk = |(piece, part): (&Piece, std::ops::Range<u64>)| match piece {
        Piece::Octets(octets) => {
            let at = |octet: u64| usize::try_from(octet).unwrap_or(octets.len());
            let octets = octets.get(at(part.start)..at(part.end)).unwrap_or_default();
            Some(Chunk::Octets(Bytes::copy_from_slice(octets)))
        }
        Piece::File { digest, .. } => {
            Some(Chunk::File { file: files.get(digest)?.clone(), from: part.start, to: part.end })
        }
    };
    uki.parts(from, to).filter_map(chunk).collect()
}
