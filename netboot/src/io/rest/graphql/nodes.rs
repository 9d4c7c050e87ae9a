//! What GraphQL shows of machines: the types of Sabakan's schema, and a few fields more (`name`, `ipv6`, `macs`, `reason`, `by`).
//!
//! Differs from Sabakan: `bmc.ipv4` and `info.bmc.ipv4` are null where the address plan has no BMCs.

use crate::inventory::enrol::Waiting;
use crate::inventory::machine::Machine;
use crate::inventory::query::{Query, Wanted};
use crate::inventory::state::State;
use crate::ipam::{Interface, Ipam};
use crate::{NetbootError, Refusal};
use async_graphql::{
    Enum, ID, InputObject, InputValueError, InputValueResult, Object, Scalar, ScalarType, SimpleObject, Value,
};
use jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What a machine is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "MachineState", remote = "State")]
pub(super) enum MachineState {
    /// Registered, not yet seen well.
    Uninitialized,
    /// Fit for work.
    Healthy,
    /// Answers, but something about it is wrong.
    Unhealthy,
    /// Does not answer.
    Unreachable,
    /// Being updated.
    Updating,
    /// Leaves: its disk keys are to be deleted.
    Retiring,
    /// Gone.
    Retired,
}

/// An IPv4 or IPv6 address.
#[derive(Debug)]
pub(super) struct Address(IpAddr);

#[Scalar(name = "IPAddress")]
impl ScalarType for Address {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else {
            return Err(InputValueError::expected_type(value));
        };
        Ok(Self(text.parse()?))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A time, as RFC 3339 writes it.
#[derive(Debug)]
pub(super) struct Moment(Timestamp);

#[Scalar(name = "DateTime")]
impl ScalarType for Moment {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else {
            return Err(InputValueError::expected_type(value));
        };
        Ok(Self(text.parse()?))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A label of a machine.
#[derive(Debug, SimpleObject)]
#[graphql(name = "Label")]
pub(super) struct LabelNode {
    name: String,
    value: String,
}

/// A label to search for.
#[derive(Debug, InputObject)]
pub(super) struct LabelInput {
    name: String,
    value: String,
}

/// What is asked of machines: each list is any of its values, but all of the labels; what is left out is not asked.
#[derive(Debug, InputObject)]
pub(super) struct MachineParams {
    labels: Option<Vec<LabelInput>>,
    racks: Option<Vec<i32>>,
    roles: Option<Vec<String>>,
    states: Option<Vec<MachineState>>,
    /// Days until the machine is to leave, rounded down. Nobody knows of a machine without such a date: it has none left, as in Sabakan.
    min_days_before_retire: Option<i32>,
}

/// The query that two sets of parameters mean.
pub(super) fn query(
    having: Option<MachineParams>,
    without: Option<MachineParams>,
    now: Timestamp,
) -> Result<Query, NetbootError> {
    let mut query = Query::default();
    for (params, field, negated) in [(having, "having", false), (without, "notHaving", true)] {
        if let Some(params) = params {
            let added = params.wanted(now).and_then(|wanted| query.add(wanted, negated));
            added.map_err(|refusal| refusal.within(field))?;
        }
    }
    Ok(query)
}

impl MachineParams {
    fn wanted(self, now: Timestamp) -> Result<Wanted, Refusal> {
        let rack = |rack: i32| {
            let negative = || Refusal::invalid("racks", format!("{rack} is no rack"), "racks are numbered from 0");
            u32::try_from(rack).map_err(|_| negative())
        };
        let labels = self.labels.unwrap_or_default().into_iter().map(|label| (label.name, label.value));
        Ok(Wanted {
            labels: labels.collect(),
            racks: self.racks.unwrap_or_default().into_iter().map(rack).collect::<Result<_, _>>()?,
            roles: self.roles.unwrap_or_default(),
            states: self.states.unwrap_or_default().into_iter().map(State::from).collect(),
            days_left: self.min_days_before_retire.map(|days| (i64::from(days), now)),
        })
    }
}

/// A machine as it is in one answer.
#[derive(Debug)]
struct Seen {
    machine: Arc<Machine>,
    ipam: Option<Arc<Ipam>>,
    now: Timestamp,
}

/// A server in a rack.
#[derive(Clone, Debug)]
pub(super) struct MachineNode(Arc<Seen>);

impl MachineNode {
    pub(super) fn new(machine: Arc<Machine>, ipam: Option<Arc<Ipam>>, now: Timestamp) -> Self {
        Self(Arc::new(Seen { machine, ipam, now }))
    }

    pub(super) fn into_status(self) -> StatusNode {
        StatusNode(self.0)
    }
}

/// A server in a rack.
#[Object(name = "Machine")]
impl MachineNode {
    /// What was registered, and what follows from it.
    async fn spec(&self) -> SpecNode {
        SpecNode(self.0.clone())
    }

    /// What it is fit for.
    async fn status(&self) -> StatusNode {
        StatusNode(self.0.clone())
    }

    /// How its addresses are configured.
    async fn info(&self) -> InfoNode {
        InfoNode(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct SpecNode(Arc<Seen>);

/// What was registered, and what follows from it.
#[Object(name = "MachineSpec")]
impl SpecNode {
    async fn serial(&self) -> ID {
        ID(self.0.machine.serial.clone())
    }

    /// Host name.
    async fn name(&self) -> &str {
        &self.0.machine.name
    }

    /// By name; null when it has none.
    async fn labels(&self) -> Option<Vec<LabelNode>> {
        let labels = &self.0.machine.labels;
        let node = |(name, value): (&String, &String)| LabelNode { name: name.clone(), value: value.clone() };
        (!labels.is_empty()).then(|| labels.iter().map(node).collect())
    }

    async fn rack(&self) -> u32 {
        self.0.machine.rack
    }

    async fn index_in_rack(&self) -> u32 {
        self.0.machine.index
    }

    async fn role(&self) -> &str {
        &self.0.machine.role
    }

    /// By network; the first is the machine's own.
    async fn ipv4(&self) -> Vec<Address> {
        self.0.machine.ipv4.iter().map(|address| Address((*address).into())).collect()
    }

    /// By network; the first is the machine's own.
    async fn ipv6(&self) -> Vec<Address> {
        self.0.machine.ipv6.iter().map(|address| Address((*address).into())).collect()
    }

    /// MAC addresses in small letters with colons.
    async fn macs(&self) -> &[String] {
        &self.0.machine.ids.macs
    }

    async fn register_date(&self) -> Moment {
        Moment(self.0.machine.registered)
    }

    /// When it is to leave; the first day of year 1 means that nobody knows, as in Sabakan.
    async fn retire_date(&self) -> Moment {
        // 62,135,596,800 s before 1970.
        let unknown = || Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::MIN);
        Moment(self.0.machine.retires.unwrap_or_else(unknown))
    }

    /// Its management controller.
    async fn bmc(&self) -> BmcNode {
        BmcNode(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct BmcNode(Arc<Seen>);

/// A management controller.
#[Object(name = "BMC")]
impl BmcNode {
    async fn bmc_type(&self) -> &str {
        &self.0.machine.bmc.kind
    }

    async fn ipv4(&self) -> Option<Address> {
        self.0.machine.bmc.ipv4.map(|address| Address(address.into()))
    }

    async fn ipv6(&self) -> Option<Address> {
        self.0.machine.bmc.ipv6.map(|address| Address(address.into()))
    }
}

#[derive(Debug)]
pub(super) struct StatusNode(Arc<Seen>);

/// What a machine is fit for.
#[Object(name = "MachineStatus")]
impl StatusNode {
    async fn state(&self) -> MachineState {
        self.0.machine.state.name.into()
    }

    /// Since when.
    async fn timestamp(&self) -> Moment {
        Moment(self.0.machine.state.since)
    }

    /// Seconds in this state.
    async fn duration(&self) -> f64 {
        self.0.now.duration_since(self.0.machine.state.since).as_secs_f64().max(0.0)
    }

    /// Why, in the words of who said so.
    async fn reason(&self) -> &str {
        &self.0.machine.state.reason
    }

    /// Who said so.
    async fn by(&self) -> &str {
        &self.0.machine.state.by
    }
}

#[derive(Debug)]
pub(super) struct InfoNode(Arc<Seen>);

/// How addresses are configured.
#[Object(name = "MachineInfo")]
impl InfoNode {
    async fn bmc(&self) -> BmcInfoNode {
        BmcInfoNode(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct BmcInfoNode(Arc<Seen>);

/// How a management controller is configured.
#[Object(name = "BMCInfo")]
impl BmcInfoNode {
    async fn ipv4(&self) -> Option<NicNode> {
        let address = self.0.machine.bmc.ipv4?;
        self.0.ipam.as_ref()?.interface(address.into()).map(NicNode)
    }
}

#[derive(Debug)]
pub(super) struct NicNode(Interface);

/// How an interface is configured.
#[Object(name = "NICConfig")]
impl NicNode {
    async fn address(&self) -> Address {
        Address(self.0.address)
    }

    async fn netmask(&self) -> Address {
        let bits = u32::MAX.checked_shl(32_u32.saturating_sub(self.0.mask.into())).unwrap_or(0);
        Address(Ipv4Addr::from_bits(bits).into())
    }

    async fn maskbits(&self) -> u8 {
        self.0.mask
    }

    async fn gateway(&self) -> Address {
        Address(self.0.gateway)
    }
}

/// A machine that nobody registered.
#[derive(Debug)]
pub(super) struct CandidateNode(Waiting);

impl CandidateNode {
    pub(super) const fn new(waiting: Waiting) -> Self {
        Self(waiting)
    }
}

/// A machine that nobody registered.
#[Object(name = "Candidate")]
impl CandidateNode {
    async fn serial(&self) -> ID {
        ID(self.0.candidate.said.serial.clone())
    }

    /// Where it was seen.
    async fn rack(&self) -> Option<u32> {
        self.0.candidate.rack
    }

    /// Who reported it.
    async fn source(&self) -> &str {
        &self.0.candidate.source
    }

    /// Whether somebody vouches for it.
    async fn vouched(&self) -> bool {
        self.0.candidate.vouched
    }

    async fn macs(&self) -> &[String] {
        &self.0.candidate.said.ids.macs
    }

    /// Who made it.
    async fn vendor(&self) -> &str {
        &self.0.candidate.said.hardware.vendor
    }

    /// Which model it is.
    async fn product(&self) -> &str {
        &self.0.candidate.said.hardware.product
    }

    async fn first_seen(&self) -> Moment {
        Moment(self.0.candidate.first_seen)
    }

    async fn last_seen(&self) -> Moment {
        Moment(self.0.candidate.last_seen)
    }

    /// The first rule that means it.
    async fn rule(&self) -> Option<&str> {
        self.0.rule.as_deref()
    }

    /// The role that this rule gives.
    async fn role(&self) -> Option<&str> {
        self.0.role.as_deref()
    }

    /// Why it waits.
    async fn why(&self) -> &str {
        &self.0.why
    }

    /// Whether somebody rejected it.
    async fn rejected(&self) -> bool {
        self.0.candidate.rejected.is_some()
    }
}
