//! Nexthop objects: one per neighbour on a link, one group per distinct set of two or more neighbours. Hands out ids, follows what
//! the kernel does to objects by itself, and says which operations bring the objects to what is wanted ∧ alive. Knows no routes.
//!
//! ```text
//!   route ─▶ member                        a set of one
//!   route ─▶ group ─▶ member, member …     the group is named after the wanted set; it holds those that are alive
//! ```
//! So a neighbour that dies costs one deletion, whatever the number of routes, and a route that wants the same set is not touched.

use super::op::{HeldNexthop, HeldShape, Member, NhId, Op, Spread};
use super::standin::Standins;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_bgp::types::IfIndex;

/// A set of neighbours with weights, ascending, no neighbour twice.
pub(super) type Set = Arc<[(Member, u8)]>;

/// What an id stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Member(Member),
    Group(Spread, Set),
    /// Of an earlier run and of no use to us; the id keeps shapes distinct.
    Orphan(NhId),
}

/// What the kernel holds under an id, as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    No,
    Member,
    Group(Vec<(NhId, u8)>),
    Orphan,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) shape: Shape,
    pub(super) held: Held,
    /// Routes want it.
    pub(super) wanted: bool,
    /// For a member: how many wanted groups it is in.
    groups: u32,
    /// Whatever stands under this id goes before anything else is done with it.
    doomed: bool,
    /// For a member: something spoke against it since it was last given out to be made.
    shaken: bool,
}

/// What speaks against a neighbour whose link can be used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Evidence {
    /// BFD, or neighbour discovery.
    Dead,
    /// It is behind a port that is down.
    CutOff,
    /// BGP holds packets back until its session stands.
    HeldBack,
}

/// All nexthop objects of ours.
#[derive(Debug)]
pub(super) struct Objects {
    first: u32,
    count: u32,
    /// Where the search for a free id goes on: ids come back late, so that an old notification never means a new object.
    cursor: u32,
    by_id: BTreeMap<NhId, Object>,
    by_shape: BTreeMap<Shape, NhId>,
    /// Ids in our range that somebody else took.
    foreign: BTreeSet<NhId>,
    usable: BTreeSet<IfIndex>,
    /// Neighbours that something speaks against, by [`Evidence`].
    against: [BTreeSet<Member>; 3],
    /// To be looked at by [`Objects::next_ops`].
    dirty: BTreeSet<NhId>,
    /// An object came or went, here or in the kernel, since the last [`Objects::take_changed`].
    changed: bool,
}

impl Objects {
    pub(super) const fn new(first: u32, count: u32) -> Self {
        Self {
            first,
            count,
            cursor: 0,
            by_id: BTreeMap::new(),
            by_shape: BTreeMap::new(),
            foreign: BTreeSet::new(),
            usable: BTreeSet::new(),
            against: [const { BTreeSet::new() }; 3],
            dirty: BTreeSet::new(),
            changed: false,
        }
    }

    /// The id of a set; objects are made up as needed, and reach the kernel when a route wants them. `None`: no id is free.
    pub(super) fn intern(&mut self, spread: Spread, set: &Set) -> Option<NhId> {
        if let [(member, _)] = &**set {
            return self.id_of(Shape::Member(*member));
        }
        for (member, _) in &**set {
            self.id_of(Shape::Member(*member))?;
        }
        self.id_of(Shape::Group(spread, Arc::clone(set)))
    }

    fn id_of(&mut self, shape: Shape) -> Option<NhId> {
        if let Some(id) = self.by_shape.get(&shape) {
            return Some(*id);
        }
        let id = self.free_id()?;
        self.insert(id, shape, Held::No);
        Some(id)
    }

    fn free_id(&mut self) -> Option<NhId> {
        for _ in 0..self.count {
            let id = NhId(self.first + self.cursor);
            self.cursor = (self.cursor + 1) % self.count;
            if !self.by_id.contains_key(&id) && !self.foreign.contains(&id) {
                return Some(id);
            }
        }
        None
    }

    fn insert(&mut self, id: NhId, shape: Shape, held: Held) {
        self.changed = true;
        self.by_shape.insert(shape.clone(), id);
        self.by_id.insert(id, Object { shape, held, wanted: false, groups: 0, doomed: false, shaken: false });
    }

    pub(super) fn get(&self, id: NhId) -> Option<&Object> {
        self.by_id.get(&id)
    }

    /// Whether the kernel holds an object in a form that routes can use.
    pub(super) fn is_held(&self, id: NhId) -> bool {
        self.by_id.get(&id).is_some_and(|object| match object.held {
            Held::Member | Held::Group(_) => !object.doomed,
            Held::No | Held::Orphan => false,
        })
    }

    /// Whether a group in the kernel names an object.
    pub(super) fn is_in_group(&self, id: NhId) -> bool {
        let names = |object: &Object| matches!(&object.held, Held::Group(members) if members.iter().any(|(member, _)| *member == id));
        self.by_id.values().any(names)
    }

    pub(super) fn is_alive(&self, member: &Member) -> bool {
        self.usable.contains(&member.link) && self.against.iter().all(|set| !set.contains(member))
    }

    /// A link came or went. When it went, the kernel has deleted the objects on it (and may have done so within a flicker that is
    /// over already), so each is deleted once more, for certain, and made anew.
    pub(super) fn set_link(&mut self, link: IfIndex, usable: bool) {
        if usable {
            self.usable.insert(link);
        } else {
            self.usable.remove(&link);
        }
        for (id, object) in &mut self.by_id {
            if let Shape::Member(member) = &object.shape
                && member.link == link
            {
                object.doomed |= !usable && object.held != Held::No;
                object.shaken |= !usable;
                self.dirty.insert(*id);
            }
        }
    }

    /// Links known to be usable.
    pub(super) const fn usable(&self) -> &BTreeSet<IfIndex> {
        &self.usable
    }

    /// Something speaks against a neighbour from now on, or no longer. Its object is deleted and made anew, for certain: were a deletion
    /// refused and the neighbour back before the next try, groups and routes that had to let go of it would not be told.
    pub(super) fn judge(&mut self, member: Member, evidence: Evidence, fine: bool) {
        let against = &mut self.against[evidence as usize];
        if fine {
            against.remove(&member);
        } else {
            against.insert(member);
        }
        let Some(id) = self.by_shape.get(&Shape::Member(member)) else { return };
        if let Some(object) = self.by_id.get_mut(id) {
            object.doomed |= !fine && object.held != Held::No;
            object.shaken |= !fine;
        }
        self.dirty.insert(*id);
    }

    /// Routes began or ceased to want an object.
    pub(super) fn set_wanted(&mut self, id: NhId, wanted: bool) {
        let Some(object) = self.by_id.get_mut(&id) else { return };
        self.dirty.insert(id);
        if std::mem::replace(&mut object.wanted, wanted) == wanted {
            return;
        }
        let Shape::Group(_, set) = object.shape.clone() else { return };
        for (member, _) in &*set {
            let Some(id) = self.by_shape.get(&Shape::Member(*member)) else { continue };
            if let Some(object) = self.by_id.get_mut(id) {
                object.groups = if wanted { object.groups + 1 } else { object.groups - 1 };
                self.dirty.insert(*id);
            }
        }
    }

    /// The next operations, of one kind: deletions of the dead, then members, then groups.
    pub(super) fn next_ops(&mut self, max: usize, standins: &Standins) -> Vec<Op> {
        self.dirty.retain(|id| self.by_id.contains_key(id));
        for stage in [Self::deletion, Self::creation, Self::grouping] {
            let ops: Vec<_> = self.dirty.iter().filter_map(|id| stage(self, *id, standins)).take(max).collect();
            for op in &ops {
                if let Op::AddNexthop { id, .. } = op
                    && let Some(object) = self.by_id.get_mut(id)
                {
                    object.shaken = false;
                }
            }
            if !ops.is_empty() {
                return ops;
            }
        }
        self.dirty.clear();
        Vec::new()
    }

    fn deletion(&self, id: NhId, _: &Standins) -> Option<Op> {
        self.by_id.get(&id)?.doomed.then_some(Op::DeleteNexthop { id })
    }

    fn creation(&self, id: NhId, _: &Standins) -> Option<Op> {
        let object = self.by_id.get(&id)?;
        let Shape::Member(member) = object.shape else { return None };
        let due = object.held == Held::No && (object.wanted || object.groups > 0) && self.is_alive(&member);
        due.then_some(Op::AddNexthop { id, member })
    }

    fn grouping(&self, id: NhId, standins: &Standins) -> Option<Op> {
        let object = self.by_id.get(&id)?;
        let Shape::Group(spread, set) = &object.shape else { return None };
        let (spread, members) = (*spread, self.allowed(id, self.present(set), standins));
        if !object.wanted || members.is_empty() {
            return None;
        }
        match &object.held {
            Held::No => Some(Op::SetGroup { id, members, spread, replace: false }),
            Held::Group(held) if *held == members => None,
            Held::Group(_) | Held::Member | Held::Orphan => Some(Op::SetGroup { id, members, spread, replace: true }),
        }
    }

    /// The members of a set that the kernel holds and that are alive.
    fn present(&self, set: &Set) -> Vec<(NhId, u8)> {
        let id = |member: &Member| {
            let id = self.by_shape.get(&Shape::Member(*member))?;
            (self.is_held(*id) && self.is_alive(member)).then_some(*id)
        };
        let mut members: Vec<_> =
            set.iter().filter_map(|(member, weight)| id(member).map(|id| (id, *weight))).collect();
        members.sort_unstable();
        members
    }

    /// Those of a group's members that it may have now: what it holds, and what all routes want that hold it.
    fn allowed(&self, id: NhId, mut members: Vec<(NhId, u8)>, standins: &Standins) -> Vec<(NhId, u8)> {
        if let Some(Object { held: Held::Group(held), .. }) = self.by_id.get(&id) {
            for wanted in standins.wanted_of(id) {
                members
                    .retain(|(member, _)| held.iter().any(|(other, _)| other == member) || self.names(wanted, *member));
            }
        }
        members
    }

    /// Whether an object is a member, or a group's whose set has it.
    fn names(&self, id: NhId, member: NhId) -> bool {
        id == member
            || match (
                self.by_id.get(&id).map(|object| &object.shape),
                self.by_id.get(&member).map(|object| &object.shape),
            ) {
                (Some(Shape::Group(_, set)), Some(Shape::Member(member))) => {
                    set.iter().any(|(other, _)| other == member)
                }
                _ => false,
            }
    }

    /// Groups that lack members only because routes rely on them which do not want those.
    pub(super) fn held_back(&self, standins: &Standins) -> BTreeSet<NhId> {
        let is_held_back = |id: &NhId| match self.by_id.get(id) {
            Some(Object { shape: Shape::Group(_, set), wanted: true, .. }) => {
                let present = self.present(set);
                self.allowed(*id, present.clone(), standins) != present
            }
            Some(_) | None => false,
        };
        standins.relied_on().into_iter().filter(is_held_back).collect()
    }

    /// Whether an object came or went, here or in the kernel, since the last call.
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Groups in the kernel that lack members, each with the object that stands for what is left of it: who wants that is served
    /// by the group as it is.
    pub(super) fn standins(&self) -> BTreeSet<(NhId, NhId)> {
        let pair = |(id, object): (&NhId, &Object)| {
            let (Shape::Group(spread, set), Held::Group(held)) = (&object.shape, &object.held) else { return None };
            if held.len() >= set.len() || object.doomed {
                return None;
            }
            let same = match &held[..] {
                [(only, _)] => *only,
                several => {
                    let member = |(id, weight): &(NhId, u8)| match self.by_id.get(id).map(|object| &object.shape) {
                        Some(Shape::Member(member)) => Some((*member, *weight)),
                        Some(Shape::Group(..) | Shape::Orphan(_)) | None => None,
                    };
                    let mut left = several.iter().map(member).collect::<Option<Vec<_>>>()?;
                    left.sort_unstable();
                    *self.by_shape.get(&Shape::Group(*spread, left.into()))?
                }
            };
            Some((*id, same))
        };
        self.by_id.iter().filter_map(pair).collect()
    }

    /// The object for the same neighbours as `id` with another way to spread; `None`: it is no group, or spreads that way already.
    pub(super) fn respread(&mut self, id: NhId, spread: Spread) -> Option<NhId> {
        match &self.by_id.get(&id)?.shape {
            Shape::Group(old, set) if *old != spread => {
                let set = Arc::clone(set);
                self.intern(spread, &set)
            }
            Shape::Group(..) | Shape::Member(_) | Shape::Orphan(_) => None,
        }
    }

    /// An object is not tried again until it is dirty again.
    pub(super) fn set_aside(&mut self, id: NhId) {
        self.dirty.remove(&id);
    }

    /// Look at it again.
    pub(super) fn retry(&mut self, id: NhId) {
        self.dirty.insert(id);
    }

    /// The kernel holds this member now. If something spoke against it while it was being made, it goes, like one that was there already.
    pub(super) fn created(&mut self, id: NhId) {
        let Some(object) = self.by_id.get_mut(&id) else { return };
        object.held = Held::Member;
        object.doomed |= object.shaken;
        self.dirty.insert(id);
        self.changed = true;
        let Shape::Member(member) = object.shape else { return };
        self.touch_groups_of(member);
    }

    /// The kernel holds this group now.
    pub(super) fn grouped(&mut self, id: NhId, members: &[(NhId, u8)]) {
        if let Some(object) = self.by_id.get_mut(&id) {
            object.held = Held::Group(members.to_vec());
            self.changed = true;
        }
    }

    fn touch_groups_of(&mut self, member: Member) {
        for (id, object) in &self.by_id {
            if matches!(&object.shape, Shape::Group(_, set) if set.iter().any(|(other, _)| *other == member)) {
                self.dirty.insert(*id);
            }
        }
    }

    /// The kernel dropped an object: groups shrink, and those that lose their last member go too. Returns all that is gone.
    pub(super) fn lost(&mut self, id: NhId) -> BTreeSet<NhId> {
        let mut gone = BTreeSet::from([id]);
        self.changed = true;
        for (other, object) in &mut self.by_id {
            if *other == id {
                object.held = Held::No;
                object.doomed = false;
                self.dirty.insert(*other);
            } else if let Held::Group(members) = &mut object.held {
                let before = members.len();
                members.retain(|(member, _)| *member != id);
                if members.len() < before {
                    self.dirty.insert(*other);
                }
                if members.is_empty() {
                    object.held = Held::No;
                    gone.insert(*other);
                }
            }
        }
        gone
    }

    /// Objects that nothing needs: `holding` says whether a route in the kernel still names one. Those that the kernel does not
    /// hold are forgotten here.
    pub(super) fn unneeded(&mut self, holding: impl Fn(NhId) -> bool) -> Vec<NhId> {
        let (mut in_groups, mut held_in_groups) = (BTreeSet::new(), BTreeSet::new());
        let mut free = Vec::new();
        let is_group = |object: &Object| !matches!(object.shape, Shape::Member(_));
        for (id, object) in self.by_id.iter().filter(|(_, object)| is_group(object)) {
            match (&object.shape, &object.held) {
                (Shape::Group(_, set), _) if object.wanted => in_groups.extend(set.iter().map(|(member, _)| *member)),
                // What it lacks it does not get back.
                (_, Held::Group(members)) if holding(*id) => held_in_groups.extend(members.iter().map(|(id, _)| *id)),
                _ if object.wanted || holding(*id) => {}
                _ => free.push(*id),
            }
        }
        for (id, object) in &self.by_id {
            if let Shape::Member(member) = &object.shape
                && !object.wanted
                && !holding(*id)
                && !in_groups.contains(member)
                && !held_in_groups.contains(id)
            {
                free.push(*id);
            }
        }
        let (held, forgotten): (Vec<_>, Vec<_>) =
            free.into_iter().partition(|id| self.by_id.get(id).is_some_and(|object| object.held != Held::No));
        for id in forgotten {
            self.forget(id);
        }
        held
    }

    fn forget(&mut self, id: NhId) {
        self.changed = true;
        if let Some(object) = self.by_id.remove(&id) {
            self.by_shape.remove(&object.shape);
        }
    }

    /// Everything goes, groups first so that members free nothing behind our back.
    pub(super) fn doom_all(&mut self) {
        for (id, object) in &mut self.by_id {
            object.doomed = object.held != Held::No;
            self.dirty.insert(*id);
        }
    }

    /// Compares with a complete list of what the kernel holds in our id range. Returns what is gone (routes that named it are gone
    /// too), ids that had to change, and how many objects had drifted.
    pub(super) fn compare(&mut self, found: &[HeldNexthop]) -> Comparison {
        let mut result = Comparison::default();
        self.foreign = found.iter().filter(|object| !object.ours).map(|object| object.id).collect();
        let ours: BTreeMap<_, _> =
            found.iter().filter(|object| object.ours).map(|object| (object.id, object)).collect();
        let missing: Vec<_> = self
            .by_id
            .iter()
            .filter(|(id, object)| object.held != Held::No && !ours.contains_key(id))
            .map(|(id, _)| *id)
            .collect();
        for id in missing {
            result.drift += 1;
            result.gone.extend(self.lost(id));
        }
        let stolen: Vec<_> = self.by_id.keys().copied().filter(|id| self.foreign.contains(id)).collect();
        for id in stolen {
            if let Some(new) = self.renumber(id) {
                result.renumbered.push((id, new));
            }
        }
        // Members first: groups are understood by the ids of their members.
        let is_group = |object: &&HeldNexthop| matches!(object.shape, HeldShape::Group(..));
        for object in ours.values().filter(|object| !is_group(object)) {
            result.drift += usize::from(self.compare_one(object));
        }
        for object in ours.values().filter(|object| is_group(object)) {
            result.drift += usize::from(self.compare_one(object));
        }
        result
    }

    fn compare_one(&mut self, found: &HeldNexthop) -> bool {
        let shape = self.shape_of(found);
        // A dead neighbour that the kernel still holds goes like one that dies now.
        let dead = matches!(&shape, Shape::Member(member) if !self.is_alive(member));
        let held = match (&found.shape, &shape) {
            (HeldShape::Member(_), _) => Held::Member,
            (HeldShape::Group(_, members), _) => Held::Group(members.clone()),
            (HeldShape::Other, _) => Held::Orphan,
        };
        let Some(object) = self.by_id.get_mut(&found.id) else {
            let taken = self.by_shape.contains_key(&shape);
            self.insert(found.id, if taken { Shape::Orphan(found.id) } else { shape }, held);
            if let Some(object) = self.by_id.get_mut(&found.id) {
                object.doomed = dead;
            }
            self.dirty.insert(found.id);
            return true;
        };
        let usable = match (&object.shape, &held) {
            (Shape::Member(_), Held::Member) => shape == object.shape,
            // The kernel refuses to change how a group spreads.
            (Shape::Group(spread, _), Held::Group(_)) => {
                matches!(&found.shape, HeldShape::Group(found, _) if found == spread)
            }
            (Shape::Orphan(_), _) => true,
            (Shape::Member(_) | Shape::Group(..), _) => false,
        };
        let drift = object.held != held || !usable;
        self.changed |= drift;
        object.held = held;
        object.doomed |= !usable || dead;
        if drift || dead {
            self.dirty.insert(found.id);
            if let Shape::Member(member) = object.shape {
                self.touch_groups_of(member);
            }
        }
        drift
    }

    fn shape_of(&self, found: &HeldNexthop) -> Shape {
        match &found.shape {
            HeldShape::Member(member) => Shape::Member(*member),
            HeldShape::Other => Shape::Orphan(found.id),
            HeldShape::Group(spread, members) => {
                let member = |id: NhId| match self.by_id.get(&id).map(|object| &object.shape) {
                    Some(Shape::Member(member)) => Some(*member),
                    Some(Shape::Group(..) | Shape::Orphan(_)) | None => None,
                };
                let set: Option<Vec<_>> = members.iter().map(|(id, weight)| Some((member(*id)?, *weight))).collect();
                set.map_or(Shape::Orphan(found.id), |mut set| {
                    set.sort_unstable();
                    Shape::Group(*spread, set.into())
                })
            }
        }
    }

    /// Somebody else took this id: ours moves.
    fn renumber(&mut self, old: NhId) -> Option<NhId> {
        let new = self.free_id()?;
        let object = self.by_id.remove(&old)?;
        self.changed = true;
        self.dirty.insert(new);
        if let Shape::Member(member) = object.shape {
            self.touch_groups_of(member);
        }
        self.by_shape.insert(object.shape.clone(), new);
        self.by_id.insert(new, object);
        Some(new)
    }

    /// Objects in the kernel: neighbours, groups.
    pub(super) fn held(&self) -> (usize, usize) {
        let count = |wanted: fn(&Held) -> bool| self.by_id.values().filter(|object| wanted(&object.held)).count();
        (count(|held| matches!(held, Held::Member)), count(|held| matches!(held, Held::Group(_))))
    }
}

/// Whether routes, or groups that routes want, want it.
pub(super) const fn is_needed(object: &Object) -> bool {
    object.wanted || object.groups > 0
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) gone: BTreeSet<NhId>,
    pub(super) renumbered: Vec<(NhId, NhId)>,
    pub(super) drift: usize,
}
