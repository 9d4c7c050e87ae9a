//! Images, who boots which, and their files.

use super::Api;
use super::answer::{Failure, Input, Pairs, Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::boot::pull::{Holds, Spread};
use crate::boot::{Blob, Boots, Change, Choice, Digest, Image, Whom};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::io::boot::Booter;
use crate::io::boot::blobs::{BLOB_MAX, NotTaken, Parts};
use crate::store::Answer;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the next octets of a file.
const PART_WITHIN: Duration = Duration::from_secs(20);

/// What can be asked about images.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        on(Method::GET, "/v1/boot", get(boots), "Images, and who boots which").needs(Access::Read).gives::<Boots>(),
        on(Method::GET, "/v1/boot/images/{name}", get(image), "An image, and which servers have its files")
            .needs(Access::Read)
            .gives::<Shown>(),
        on(Method::PUT, "/v1/boot/images/{name}", put(add), "Add an image, whose files are here, or change it")
            .needs(Access::Admin)
            .takes::<Image>()
            .gives::<Image>(),
        on(Method::DELETE, "/v1/boot/images/{name}", delete(remove), "Remove an image that nobody boots")
            .needs(Access::Admin)
            .gives::<Removed>(),
        on(Method::PUT, "/v1/boot/pin", put(pin), "Say what somebody boots")
            .needs(Access::Admin)
            .takes::<Pin>()
            .gives::<Boots>(),
        on(Method::GET, "/v1/boot/files", get(files), "Files that this server has")
            .needs(Access::Read)
            .gives::<Files>(),
        on(Method::PUT, "/v1/boot/files/{sha256}", put(upload), "Bring a file, as octets; it is checked")
            .needs(Access::Admin)
            .gives::<HasFile>(),
        on(
            Method::GET,
            "/v1/boot/pcrs",
            get(pcrs),
            "PCRs (SHA-256) of a machine after it loaded its image as one file",
        )
        .needs(Access::Read)
        .asks(PCRS)
        .gives::<Predicted>(),
        on(Method::POST, "/v1/boot/gc", post(collect), "Delete files of this server that no image has")
            .needs(Access::Admin)
            .gives::<Files>(),
    ]
}

const PCRS: &[(&str, &str)] = &[
    ("image", "Its name; that which the machine boots, unless given"),
    ("machine", "Its serial number: with what it has of its own"),
];

/// What a TPM will say.
#[derive(Serialize, JsonSchema)]
struct Predicted {
    /// The image.
    image: String,
    /// By number: 4 (what firmware starts, when it tried nothing before) and 11 (what is in the file).
    pcrs: BTreeMap<String, Digest>,
}

/// Who is to boot what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pin {
    whom: Whom,
    /// The name of an image, or `disk`; null = as those do that have nothing of their own.
    to: Option<Choice>,
}

/// An image as this server sees it.
#[derive(Serialize, JsonSchema)]
struct Shown {
    image: Image,
    /// Its files, in their order; empty, when this server has no images.
    files: Vec<Spread>,
}

#[derive(Serialize, JsonSchema)]
struct Removed {
    removed: String,
}

#[derive(Serialize, JsonSchema)]
struct HasFile {
    sha256: Digest,
    bytes: u64,
    /// Whether some image has it.
    used: bool,
}

#[derive(Serialize, JsonSchema)]
struct Files {
    files: Vec<HasFile>,
}

fn booter(api: &Api) -> Result<&Arc<Booter>, Failure> {
    let rule = "write `boot: {listen: [ADDRESS:PORT], images: FOLDER}` in its configuration";
    let missing = || Refusal::conflict("", "this server has no images", rule).into();
    api.boot.as_ref().ok_or_else(missing)
}

async fn pcrs(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let image = pairs.take::<String>("image", "a name")?;
    let machine = pairs.take::<String>("machine", "a serial number")?;
    pairs.empty("image or machine")?;
    let (image, pcrs) = booter(&api)?.pcrs(image.as_deref(), machine.as_deref()).await?;
    let pcrs = pcrs.iter().map(|(pcr, value)| (pcr.to_string(), Digest::of(value))).collect();
    Ok(json(StatusCode::OK, &Predicted { image, pcrs }))
}

fn broken(error: &std::io::Error) -> Failure {
    NetbootError::Store(format!("the folder of images: {error}")).into()
}

async fn boots(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let boots = api.service.inventory().boots().cloned().unwrap_or_default();
    Ok(json(StatusCode::OK, &*boots))
}

async fn image(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    actor.may_read(None)?;
    let image = api.service.inventory().boots().and_then(|boots| boots.images.get(&name).cloned());
    let image = image.ok_or_else(|| Refusal::not_found("image", &name))?;
    let files = match &api.boot {
        Some(booter) => spread(booter, &image).await.map_err(|error| broken(&error))?,
        None => Vec::new(),
    };
    Ok(json(StatusCode::OK, &Shown { image, files }))
}

/// Who has the files of an image: this server, and those of its configuration.
async fn spread(booter: &Booter, image: &Image) -> std::io::Result<Vec<Spread>> {
    let has = booter.blobs.list()?;
    let blobs: Vec<_> = image.blobs().cloned().collect();
    let peers = booter.puller.ask_peers(&blobs).await;
    let one = |(at, blob): (usize, Blob)| {
        let octets = has.get(&blob.sha256).map_or_else(|| booter.puller.here(&blob.sha256), |(found, _)| found.bytes);
        let here = Holds { server: "here".to_owned(), octets: Some(octets), error: None };
        // Who does not answer says it once.
        let others = peers.iter().filter_map(|held| held.get(at).or_else(|| held.last()).cloned());
        Spread { sha256: blob.sha256, bytes: blob.bytes, servers: std::iter::once(here).chain(others).collect() }
    };
    Ok(blobs.into_iter().enumerate().map(one).collect())
}

async fn change(api: &Api, actor: &Actor, change: Change) -> Result<(), Failure> {
    Ok(api.service.run(&Command::Boot { change }, actor).await.map(drop)?)
}

async fn add(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(name): Path<String>,
    Input(image): Input<Image>,
) -> Reply {
    let has = booter(&api)?.blobs.list().map_err(|error| broken(&error))?;
    for blob in image.blobs() {
        if has.get(&blob.sha256).is_none_or(|(found, _)| found.bytes != blob.bytes) {
            let message = format!("this server has no file {} of {} octets", blob.sha256, blob.bytes);
            return Err(Refusal::conflict("", message, "bring it first: PUT /v1/boot/files/SHA256").into());
        }
    }
    change(&api, &actor, Change::Add { name, image: image.clone() }).await?;
    Ok(json(StatusCode::OK, &image))
}

async fn remove(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    change(&api, &actor, Change::Remove { name: name.clone() }).await?;
    Ok(json(StatusCode::OK, &Removed { removed: name }))
}

async fn pin(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(Pin { whom, to }): Input<Pin>) -> Reply {
    change(&api, &actor, Change::Pin { whom, to }).await?;
    boots(Shared(api), Who(actor)).await
}

fn listed(api: &Api) -> Result<Vec<(HasFile, bool)>, Failure> {
    let has = booter(api)?.blobs.list().map_err(|error| broken(&error))?;
    let boots = api.service.inventory().boots().cloned().unwrap_or_default();
    let used = boots.blobs();
    let shown = |(digest, (blob, young)): (Digest, (Blob, bool))| {
        (HasFile { used: used.contains(&digest), sha256: digest, bytes: blob.bytes }, young)
    };
    Ok(has.into_iter().map(shown).collect())
}

async fn files(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let files = listed(&api)?.into_iter().map(|(file, _)| file).collect();
    Ok(json(StatusCode::OK, &Files { files }))
}

async fn collect(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.needs(Access::Admin, "delete files")?;
    let mut gone = Vec::new();
    for (file, young) in listed(&api)? {
        if !file.used && !young {
            booter(&api)?.blobs.remove(&file.sha256).map_err(|error| broken(&error))?;
            gone.push(file);
        }
    }
    Ok(json(StatusCode::OK, &Files { files: gone }))
}

async fn upload(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(sha256): Path<String>, body: Body) -> Reply {
    actor.needs(Access::Admin, "bring files")?;
    let digest = Digest::try_from(sha256.clone());
    let digest = digest.map_err(|rule| Refusal::invalid("sha256", format!("`{}`", sha256.escape_debug()), rule))?;
    let blobs = &booter(&api)?.blobs;
    let bytes = blobs.take(&digest, &mut Incoming(body)).await.map_err(|why| match why {
        NotTaken::Disk(error) => broken(&error),
        NotTaken::TooLarge => {
            let rule = format!("at most {BLOB_MAX} octets");
            Refusal::invalid("", "the file is too large", rule).of(Kind::TooMuch).into()
        }
        NotTaken::Other(_) | NotTaken::Broken(_) => {
            Failure::from(Refusal::invalid("sha256", why.to_string(), "the path says the SHA-256 of the body"))
        }
    })?;
    Ok(json(StatusCode::OK, &HasFile { sha256: digest, bytes, used: false }))
}

/// The body of a request, part by part.
struct Incoming(Body);

impl Parts for Incoming {
    fn next(&mut self) -> Answer<'_, Result<Option<Bytes>, NotTaken>> {
        Box::pin(async {
            loop {
                let frame = tokio::time::timeout(PART_WITHIN, self.0.frame()).await;
                let Some(frame) = frame.map_err(|_| NotTaken::Broken("nothing came any more".to_owned()))? else {
                    return Ok(None);
                };
                let frame = frame.map_err(|error| NotTaken::Broken(error.to_string()))?;
                if let Ok(octets) = frame.into_data() {
                    return Ok(Some(octets));
                }
            }
        })
    }
}
