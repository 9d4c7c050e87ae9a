//! Management controllers: how they are, power, and what firmware boots next.

use super::Api;
use super::answer::{Failure, Input, Pairs, Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::bmc::power::Wish;
use crate::bmc::{Boot, BootFrom};
use crate::error::{NetbootError, Refusal};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::io::bmc::{Bmcs, NotTaken, Shown};
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Characters of a URI that firmware loads: what UEFI itself takes.
const URI_MAX: usize = 255;

/// What can be asked about management controllers.
pub(super) fn operations() -> Vec<Operation> {
    let asked: &[(&str, &str)] = &[("ask", "`true`: it is asked now; otherwise what is known without")];
    vec![
        on(Method::GET, "/v1/bmc/{serial}", get(show), "How a machine's controller says that it is, and the last wish")
            .needs(Access::Read)
            .asks(asked)
            .gives::<Shown>(),
        on(Method::POST, "/v1/bmc/{serial}/power", post(power), "Wish power on or off; `GET` says how far it is")
            .needs(Access::Operator)
            .takes::<PowerBody>()
            .gives::<Shown>(),
        on(Method::PUT, "/v1/bmc/{serial}/boot", put(boot), "Say what firmware boots next")
            .needs(Access::Operator)
            .takes::<Boot>()
            .gives::<Shown>(),
        on(
            Method::DELETE,
            "/v1/bmc/{serial}/certificate",
            delete(forget),
            "Forget its certificate: the next one is learned",
        )
        .needs(Access::Admin)
        .gives::<Shown>(),
    ]
}

/// A wish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PowerBody {
    wish: Wish,
    /// Without asking its operating system.
    #[serde(default)]
    hard: bool,
}

impl From<NotTaken> for Failure {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::NoBmc(why) => {
                Refusal::conflict("", why, "`weft-netboot check` says what `bmc` in its configuration is to have")
                    .into()
            }
            NotTaken::Trouble(trouble) => NetbootError::Bmc(trouble.to_string()).into(),
        }
    }
}

fn bmcs(api: &Api) -> Result<&Arc<Bmcs>, Failure> {
    let rule = "write `bmc: {rules: [{credentials: FILE, trust: learn}]}` in its configuration";
    let missing = || Refusal::conflict("", "this server speaks to no BMC", rule).into();
    api.bmcs.as_ref().ok_or_else(missing)
}

fn machine(api: &Api, serial: &str) -> Result<Arc<Machine>, Failure> {
    let found = api.service.inventory().machine(serial).map(|held| held.value.clone());
    Ok(found.ok_or_else(|| Refusal::not_found("machine", serial))?)
}

/// In the audit log before it is done: the other way round it might be in none.
async fn audited(api: &Api, actor: &Actor, serial: &str, what: String) -> Result<(), Failure> {
    let command = Command::Bmc { serial: serial.to_owned(), what };
    Ok(api.service.run(&command, actor).await.map(drop)?)
}

async fn show(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let ask = pairs.take::<bool>("ask", "true or false")?.unwrap_or(false);
    pairs.empty("ask")?;
    let shown = bmcs(&api)?.show(&*machine(&api, &serial)?, ask).await?;
    Ok(json(StatusCode::OK, &shown))
}

async fn power(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(PowerBody { wish, hard }): Input<PowerBody>,
) -> Reply {
    actor.needs(Access::Operator, "wish power")?;
    let (bmcs, machine) = (bmcs(&api)?, machine(&api, &serial)?);
    api.service.run(&bmcs.power(&machine, wish, hard)?, &actor).await?;
    Ok(json(StatusCode::OK, &bmcs.wished(&machine)?))
}

async fn boot(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(boot): Input<Boot>,
) -> Reply {
    actor.needs(Access::Operator, "say what firmware boots")?;
    let (bmcs, machine) = (bmcs(&api)?, machine(&api, &serial)?);
    if boot.from == BootFrom::Other {
        return Err(Refusal::invalid("from", "`other` is no source", "write none, pxe, http or disk").into());
    }
    if let Some(uri) = &boot.uri {
        let sign = |octet: u8| (0x21..0x7f).contains(&octet);
        let is_url = uri.starts_with("http://") || uri.starts_with("https://");
        if !is_url || uri.len() > URI_MAX || !uri.bytes().all(sign) || boot.from != BootFrom::Http {
            let rule = format!("with `from: http`, up to {URI_MAX} characters, as http://10.72.0.1:8080/boot/uki.efi");
            return Err(Refusal::invalid("uri", "is none that firmware loads", rule).into());
        }
    }
    let how = match (boot.from, boot.once) {
        (BootFrom::None, _) => "",
        (_, true) => " once",
        (_, false) => " always",
    };
    audited(&api, &actor, &serial, format!("boot {}{how}", boot.from.name())).await?;
    let shown = bmcs.boot(&machine, &boot).await?;
    Ok(json(StatusCode::OK, &shown))
}

async fn forget(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.needs(Access::Admin, "forget a certificate")?;
    let (bmcs, machine) = (bmcs(&api)?, machine(&api, &serial)?);
    audited(&api, &actor, &serial, "forget certificate".to_owned()).await?;
    let shown = bmcs.forget(&machine).await?;
    Ok(json(StatusCode::OK, &shown))
}
