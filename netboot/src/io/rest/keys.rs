//! Disk keys: two questions of machines, whose answer only their TPM can read, so that they need no certificate and no TLS; and what people
//! see and do. Who cannot prove which TPM he has leaves nothing behind but a count and a line in the log.

use super::Api;
use super::answer::{Failure, Input, Path, Reply, Who, document, json};
use super::openapi::{Operation, on};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::enrol::{Origin, Rate};
use crate::inventory::machine::word;
use crate::io::server::counts::Keyed;
use crate::keys::policy::{Given, Rules, WithoutTpm};
use crate::keys::turns::{TURNS_MAX, Turn, Turns};
use crate::keys::verify::{Pcrs, verify};
use crate::keys::{Asked, By, Change, Record, Secret, Shown, credential, recovery};
use axum::extract::{Request, State as Shared};
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post};
use ring::rand::{SecureRandom as _, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use weft_machine::keys::{CERTIFICATE, CHALLENGE, Challenge, Hello, Hex, Plain, Proof, RELEASE, Released, Wanted};
use weft_machine::tpm::key::{Kind as KeyKind, Public};

/// Octets of a question: a quote with its values, in hexadecimal, is 2 kB.
const SAID_BYTES_MAX: usize = 8 * 1024;
/// Octets by which a challenge is known.
const TURN: usize = 16;

/// What this server needs to give keys out.
#[derive(Debug)]
pub struct Keyring {
    rules: Rules,
    turns: Mutex<Turns>,
    rate: Mutex<Rate>,
    random: SystemRandom,
}

impl Keyring {
    /// By the rules of the configuration, at a server that makes files for UEFI or does not.
    ///
    /// # Errors
    /// When they say what cannot be.
    pub fn new(rules: &Rules, makes_files: bool) -> anyhow::Result<Self> {
        rules.check(makes_files).map_err(anyhow::Error::msg)?;
        let (turns, rate) = (Mutex::default(), Mutex::default());
        Ok(Self { rules: rules.clone(), turns, rate, random: SystemRandom::new() })
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], Failure> {
        let mut octets = [0; N];
        let filled = self.random.fill(&mut octets);
        filled.map_err(|_| NetbootError::Store("this system gives no random numbers".to_owned()))?;
        Ok(octets)
    }
}

pub(super) fn operations() -> Vec<Operation> {
    let one = "/v1/keys/machines/{serial}";
    vec![
        on(Method::POST, CHALLENGE, post(challenge), "Begin to ask for a disk key, by TPM")
            .takes::<Hello>()
            .gives::<Challenge>(),
        on(Method::POST, RELEASE, post(release), "Show a quote, and get the half of a disk key for this TPM")
            .takes::<Proof>()
            .gives::<Released>(),
        on(Method::POST, CERTIFICATE, post(by_certificate), "Get a disk key by certificate, without a TPM")
            .takes::<Wanted>()
            .gives::<Plain>(),
        on(Method::GET, "/v1/keys", get(list), "Whose disk keys are kept, without them")
            .needs(Access::Read)
            .gives::<Vec<Shown>>(),
        on(Method::GET, one, get(show), "The same of one machine").needs(Access::Read).gives::<Shown>(),
        on(Method::DELETE, one, delete(drop_keys), "Delete the keys of a machine that retires: its data is lost")
            .needs(Access::Admin),
        on(Method::POST, "/v1/keys/machines/{serial}/accept", post(accept), "Accept the PCRs that it showed last")
            .needs(Access::Operator)
            .gives::<Shown>(),
        on(Method::POST, "/v1/keys/machines/{serial}/recover", post(recover), "The recovery key of a disk, encrypted")
            .needs(Access::Operator)
            .takes::<Recover>()
            .gives::<Sealed>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recover {
    disk: String,
}

/// A recovery key, for the operators' key alone.
#[derive(Serialize, JsonSchema)]
struct Sealed {
    recovery: Hex,
}

fn forbidden(message: impl Into<String>, rule: &str) -> Refusal {
    Refusal::invalid("", message, rule).of(Kind::Forbidden)
}

impl Api {
    fn keyring(&self) -> Result<&Keyring, Failure> {
        let none = || forbidden("this server keeps no disk keys", "`disk_keys` of its configuration has it keep some");
        self.keyring.as_deref().ok_or_else(|| none().into())
    }

    /// Who cannot prove what he says: counted, said in the log, and not stored.
    fn unproven(&self, actor: &Actor, serial: &str, refusal: Refusal) -> Failure {
        self.counts.keyed(Keyed::Unproven);
        tracing::warn!(serial, from = actor.via, why = refusal.message, "asks for a disk key and proves nothing");
        refusal.into()
    }

    /// The machine is registered, and this is its TPM.
    fn known(&self, serial: &str, ek: &Public) -> Result<(), Refusal> {
        let inventory = self.service.inventory();
        let machine = inventory.machine(serial).ok_or_else(|| Refusal::not_found("machine", serial))?;
        let (got, held) = (ek.fingerprint(), inventory.disk_keys(serial).and_then(|record| record.ek.clone()));
        let rule = "set `ids.tpm_ek` with `weft-netboot machines report`, if this TPM is its own";
        match held.as_ref().or(machine.value.ids.tpm_ek.as_ref()) {
            Some(known) if *known == got && machine.value.ids.tpm_ek.as_ref() == Some(known) => Ok(()),
            Some(known) => Err(forbidden(format!("its TPM is {got}, and {serial} has {known}"), rule)),
            None => Err(forbidden(format!("its TPM is {got}, and the inventory knows none of {serial}"), rule)),
        }
    }

    /// What this server gives the machine to boot, where a rule asks for it.
    async fn given(&self, keyring: &Keyring, serial: &str) -> Given {
        match &self.boot {
            Some(booter) if keyring.rules.needs_image() => {
                booter.pcrs(None, Some(serial)).await.map_err(|refusal| refusal.message)
            }
            Some(_) | None => Err("no rule asks for it".to_owned()),
        }
    }

    /// Stores that a half is given out, and gives it; or stores why not.
    async fn give(&self, serial: &str, via: &str, asked: Asked, format: bool) -> Result<(Hex, Option<Hex>), Failure> {
        let keyring = self.keyring()?;
        word("disk", &asked.disk)?;
        let actor = Actor { name: serial.to_owned(), access: Access::Machine, via: via.to_owned() };
        let run = async |change| self.service.run(&Command::Key { serial: serial.to_owned(), change }, &actor).await;
        let verdict = match asked.by {
            By::Certificate => Ok(()),
            By::Tpm => {
                let given = self.given(keyring, serial).await;
                let record = self.service.inventory().disk_keys(serial).cloned();
                keyring.rules.judge(serial, record.as_deref(), &given, &asked.pcrs)
            }
        };
        let done = match verdict {
            Err(why) => Err(forbidden(why, "a key is for who booted what it was given")),
            Ok(()) => {
                let mut plain = None;
                let mut sealed = None;
                if let Some(to) = keyring.rules.recovery_to.as_ref().filter(|_| format) {
                    let fresh: [u8; recovery::RECOVERY] = keyring.random()?;
                    sealed = Some(recovery::seal(&fresh, to, serial, &asked.disk).map_err(NetbootError::Store)?);
                    plain = Some(Hex(fresh.to_vec()));
                }
                let half = Secret(Hex(keyring.random::<32>()?.to_vec()));
                let change = Change::Release { asked: asked.clone(), half, recovery: sealed };
                match run(change).await {
                    Ok(_) => Ok(plain),
                    Err(NetbootError::Refused(refusal)) => Err(*refusal),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let disk = asked.disk.clone();
        match done {
            Err(refusal) => {
                self.counts.keyed(Keyed::Refused);
                tracing::warn!(serial, disk, why = refusal.message, "gets no disk key");
                run(Change::Refuse { asked, why: refusal.message.clone() }).await?;
                // Not 409, which says to a machine that another try may do.
                Err(refusal.of(Kind::Forbidden).into())
            }
            Ok(plain) => {
                let record = self.service.inventory().disk_keys(serial).cloned();
                let half = record.and_then(|record| record.disks.get(&disk).map(|disk| disk.half.0.clone()));
                let missing = || NetbootError::Store("the half is stored, and not heard of yet: ask again".to_owned());
                let half = half.ok_or_else(missing)?;
                self.counts.keyed(Keyed::Released);
                tracing::info!(serial, disk, "gets its half of a disk key");
                Ok((half, plain))
            }
        }
    }
}

async fn challenge(Shared(api): Shared<Arc<Api>>, Who(actor): Who, request: Request) -> Reply {
    let keyring = api.keyring()?;
    let now = api.started.elapsed();
    let taken = keyring.rate.lock().unwrap_or_else(PoisonError::into_inner).take(now, &Origin::of(&actor).source);
    if let Err(wait_s) = taken {
        api.counts.keyed(Keyed::Limited);
        let refusal = Refusal::invalid("", "too many questions", format!("try again after {wait_s} s"));
        return Err(Failure(StatusCode::TOO_MANY_REQUESTS, refusal.of(Kind::TooMuch).into()));
    }
    let Hello { serial, ek, ak } = document(request.into_body(), SAID_BYTES_MAX).await?;
    word("serial", &serial)?;
    let key = |field, kind, octets: &Hex| {
        let read = Public::read(kind, &octets.0);
        read.map_err(|wrong| Refusal::invalid(field, wrong.to_string(), "send its `TPMT_PUBLIC`"))
    };
    let ek = key("ek", KeyKind::Endorsement, &ek)?;
    let ak = key("ak", KeyKind::Attestation, &ak)?;
    api.known(&serial, &ek).map_err(|refusal| api.unproven(&actor, &serial, refusal))?;
    let (nonce, id) = (keyring.random()?, keyring.random::<TURN>()?.to_vec());
    let sealed = credential::seal(&nonce, &ek, &ak, &keyring.random);
    let sealed = sealed.map_err(|wrong| Refusal::invalid("ek", wrong, "send the key of a TPM"))?;
    let turn = Turn { serial, ek, ak, nonce };
    if !keyring.turns.lock().unwrap_or_else(PoisonError::into_inner).begin(now, id.clone(), turn) {
        let refusal = Refusal::invalid("", "too many challenges are open", format!("at most {TURNS_MAX}: try again"));
        return Err(Failure(StatusCode::TOO_MANY_REQUESTS, refusal.of(Kind::TooMuch).into()));
    }
    api.counts.keyed(Keyed::Challenged);
    let pcrs = keyring.rules.pcrs.keys().copied().collect();
    Ok(json(StatusCode::OK, &Challenge { turn: Hex(id), nonce: sealed, pcrs }))
}

async fn release(Shared(api): Shared<Arc<Api>>, Who(actor): Who, request: Request) -> Reply {
    let keyring = api.keyring()?;
    let proof: Proof = document(request.into_body(), SAID_BYTES_MAX).await?;
    let now = api.started.elapsed();
    let turn = keyring.turns.lock().unwrap_or_else(PoisonError::into_inner).end(now, &proof.turn.0);
    let rule = "each is answered once, within 30 s, at the server that made it: begin anew";
    let turn = turn.ok_or_else(|| Refusal::conflict("turn", "there is no such challenge", rule))?;
    let wanted: Vec<u8> = keyring.rules.pcrs.keys().copied().collect();
    let shown = verify(&proof, &turn.nonce, &turn.ak, &wanted);
    let refused = |why| api.unproven(&actor, &turn.serial, forbidden(why, "send what the TPM says"));
    let pcrs = shown.map_err(refused)?;
    let asked = Asked { disk: proof.disk, by: By::Tpm, ek: Some(turn.ek.fingerprint()), pcrs };
    let (half, recovery) = api.give(&turn.serial, &actor.via, asked, proof.format).await?;
    let seal = |value: &Hex| {
        let sealed = credential::seal(&value.0, &turn.ek, &turn.ak, &keyring.random);
        sealed.map_err(|wrong| NetbootError::Store(wrong.to_owned()))
    };
    let released = Released { half: seal(&half)?, recovery: recovery.as_ref().map(seal).transpose()? };
    Ok(json(StatusCode::OK, &released))
}

async fn by_certificate(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(wanted): Input<Wanted>) -> Reply {
    let keyring = api.keyring()?;
    if actor.access != Access::Machine {
        return Err(forbidden(format!("{} is no machine", actor.name), "a machine asks with its certificate").into());
    }
    let serial = &actor.name;
    let machine = api.service.inventory().machine(serial).cloned();
    let machine = machine.ok_or_else(|| Refusal::not_found("machine", serial))?;
    if let Some(ek) = &machine.value.ids.tpm_ek {
        let message = format!("{serial} has a TPM, {ek}");
        return Err(api.unproven(&actor, serial, forbidden(message, "its TPM says what it booted")));
    }
    if keyring.rules.without_tpm == WithoutTpm::Refuse {
        let rule = "`disk_keys.without_tpm: certificate` of the configuration would, by certificate alone";
        return Err(api.unproven(&actor, serial, forbidden("without a TPM there are no disk keys", rule)));
    }
    let asked = Asked { disk: wanted.disk, by: By::Certificate, ek: None, pcrs: Pcrs::new() };
    let (half, recovery) = api.give(serial, &actor.via, asked, wanted.format).await?;
    Ok(json(StatusCode::OK, &Plain { half, recovery }))
}

async fn list(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let inventory = api.service.inventory();
    let all: Vec<Shown> = inventory.all_disk_keys().map(|(serial, record)| record.shown(serial)).collect();
    drop(inventory);
    Ok(json(StatusCode::OK, &all))
}

async fn show(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.may_read(None)?;
    shown(&api, &serial)
}

fn shown(api: &Api, serial: &str) -> Reply {
    let inventory = api.service.inventory();
    inventory.machine(serial).ok_or_else(|| Refusal::not_found("machine", serial))?;
    let shown = inventory.disk_keys(serial).map(|record| record.shown(serial));
    drop(inventory);
    Ok(json(StatusCode::OK, &shown.unwrap_or_else(|| Record::default().shown(serial))))
}

async fn accept(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    api.service.run(&Command::Key { serial: serial.clone(), change: Change::Accept }, &actor).await?;
    shown(&api, &serial)
}

async fn recover(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(Recover { disk }): Input<Recover>,
) -> Reply {
    let change = Change::Recover { disk: disk.clone() };
    api.service.run(&Command::Key { serial: serial.clone(), change }, &actor).await?;
    let record = api.service.inventory().disk_keys(&serial).cloned();
    let sealed = record.and_then(|record| record.disks.get(&disk).and_then(|disk| disk.recovery.clone()));
    let recovery = sealed.ok_or_else(|| Refusal::not_found("recovery key", &disk))?;
    Ok(json(StatusCode::OK, &Sealed { recovery }))
}

async fn drop_keys(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    api.service.run(&Command::DropKeys { serial }, &actor).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({})))
}
