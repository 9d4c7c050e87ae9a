//! The kernel's routes as Linux 6.18 was seen to treat them: what it refuses, what it overwrites, and what it drops without a
//! word. Panics when something that is not ours is about to be overwritten or deleted.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Ours,
    Foreign,
}

/// What a packet meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Links, ascending.
    Via(Vec<IfIndex>),
    Blackhole,
    Unreachable,
}

pub(super) struct Kernel {
    links: BTreeMap<IfIndex, bool>,
    objects: BTreeMap<NhId, (Owner, HeldShape)>,
    routes: BTreeMap<RouteKey, (Owner, Target, Option<IpAddr>)>,
    refuse: Option<Refusal>,
}

impl Kernel {
    pub(super) fn new(links: u32) -> Self {
        let links = (1..=links).map(|link| (IfIndex(link), true)).collect();
        Self { links, objects: BTreeMap::new(), routes: BTreeMap::new(), refuse: None }
    }

    pub(super) fn is_up(&self, link: IfIndex) -> bool {
        self.links[&link]
    }

    /// Carrier loss deletes the objects on the link, shrinks their groups, and tells nobody; nothing comes back by itself.
    pub(super) fn set_link(&mut self, link: IfIndex, up: bool) {
        self.links.insert(link, up);
        if !up {
            let on_link = |shape: &HeldShape| matches!(shape, HeldShape::Member(member) if member.link == link);
            let gone: Vec<_> =
                self.objects.iter().filter(|(_, (_, shape))| on_link(shape)).map(|(id, _)| *id).collect();
            for id in gone {
                self.drop_object(id);
            }
        }
    }

    fn drop_object(&mut self, id: NhId) {
        self.objects.remove(&id);
        self.routes.retain(|_, (_, target, _)| *target != Target::Nexthop(id));
        let mut empty = Vec::new();
        for (group, (_, shape)) in &mut self.objects {
            if let HeldShape::Group(_, members) = shape {
                members.retain(|(member, _)| *member != id);
                if members.is_empty() {
                    empty.push(*group);
                }
            }
        }
        for group in empty {
            self.drop_object(group);
        }
    }

    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Refusal> {
        match self.refuse.take() {
            // Half of what goes unanswered was done.
            Some(Refusal::Unanswered) => {
                let _ = self.apply_now(op);
                Err(Refusal::Unanswered)
            }
            Some(refusal) => Err(refusal),
            None => self.apply_now(op),
        }
    }

    fn apply_now(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::AddNexthop { id, member } => {
                if self.objects.contains_key(id) {
                    return Err(Refusal::Exists);
                }
                if !self.is_up(member.link) {
                    return Err(Refusal::LinkDown);
                }
                self.objects.insert(*id, (Owner::Ours, HeldShape::Member(*member)));
            }
            Op::SetGroup { id, members, spread, replace } => {
                assert!(members.is_sorted() && !members.is_empty(), "a group as the kernel takes it: {members:?}");
                if members.iter().any(|(member, _)| !self.objects.contains_key(member)) {
                    return Err(Refusal::Invalid);
                }
                match (self.objects.get(id), replace) {
                    (Some(_), false) => return Err(Refusal::Exists),
                    (None, true) => return Err(Refusal::Missing),
                    (Some((owner, shape)), true) => {
                        assert_eq!(*owner, Owner::Ours, "{op:?}");
                        // The kernel refuses to change how a group spreads.
                        if !matches!(shape, HeldShape::Group(old, _) if old == spread) {
                            return Err(Refusal::Invalid);
                        }
                    }
                    (None, false) => {}
                }
                self.objects.insert(*id, (Owner::Ours, HeldShape::Group(*spread, members.clone())));
            }
            Op::DeleteNexthop { id } => {
                let (owner, _) = self.objects.get(id).ok_or(Refusal::Missing)?;
                assert_eq!(*owner, Owner::Ours, "{op:?}");
                self.drop_object(*id);
            }
            Op::SetRoute { key, target, source, replace } => return self.set_route(*key, *target, *source, *replace),
            // The protocol is compared: a foreign route is not found.
            Op::DeleteRoute { key } => match self.routes.get(key) {
                Some((Owner::Ours, ..)) => {
                    self.routes.remove(key);
                }
                Some((Owner::Foreign, ..)) | None => return Err(Refusal::Missing),
            },
        }
        Ok(())
    }

    fn set_route(
        &mut self,
        key: RouteKey,
        target: Target,
        source: Option<IpAddr>,
        replace: bool,
    ) -> Result<(), Refusal> {
        if let Target::Nexthop(id) = target
            && !self.objects.contains_key(&id)
        {
            return Err(Refusal::Invalid);
        }
        match (self.routes.get(&key), replace) {
            (Some(_), false) => return Err(Refusal::Exists),
            (None, true) => return Err(Refusal::Missing),
            (Some((owner, ..)), true) => assert_eq!(*owner, Owner::Ours, "a foreign route is overwritten: {key:?}"),
            (None, false) => {}
        }
        self.routes.insert(key, (Owner::Ours, target, source));
        Ok(())
    }

    /// A route of somebody else takes the place, overwriting ours if need be.
    pub(super) fn add_foreign_route(&mut self, key: RouteKey) {
        self.routes.insert(key, (Owner::Foreign, Target::Other, None));
    }

    pub(super) fn remove_route(&mut self, key: &RouteKey) {
        self.routes.remove(key);
    }

    /// Somebody deletes an object of ours, if there is any.
    pub(super) fn remove_some_object(&mut self, index: usize) -> Option<NhId> {
        let ours: Vec<_> =
            self.objects.iter().filter(|(_, (owner, _))| *owner == Owner::Ours).map(|(id, _)| *id).collect();
        let id = *ours.get(index)?;
        self.drop_object(id);
        Some(id)
    }

    /// Somebody takes an id of our range, if it is free.
    pub(super) fn add_foreign_object(&mut self, id: NhId) -> bool {
        let free = !self.objects.contains_key(&id);
        self.objects.entry(id).or_insert((Owner::Foreign, HeldShape::Other));
        free
    }

    pub(super) fn drop_v4_routes_with_source(&mut self) {
        self.routes.retain(|_, (_, _, source)| !matches!(source, Some(IpAddr::V4(_))));
    }

    pub(super) const fn refuse_next(&mut self, refusal: Refusal) {
        self.refuse = Some(refusal);
    }

    pub(super) fn route_owner(&self, key: &RouteKey) -> Option<Owner> {
        self.routes.get(key).map(|(owner, ..)| *owner)
    }

    pub(super) fn dump(&self) -> Dump {
        let nexthop = |(id, (owner, shape)): (&NhId, &(Owner, HeldShape))| HeldNexthop {
            id: *id,
            ours: *owner == Owner::Ours,
            shape: shape.clone(),
        };
        let ours = self.routes.iter().filter(|(_, (owner, ..))| *owner == Owner::Ours);
        Dump {
            nexthops: self.objects.iter().map(nexthop).collect(),
            routes: ours
                .map(|(key, (_, target, source))| HeldRoute { key: *key, target: *target, source: *source })
                .collect(),
        }
    }

    /// What our routes do.
    pub(super) fn effects(&self) -> BTreeMap<RouteKey, Effect> {
        let ours = self.routes.iter().filter(|(_, (owner, ..))| *owner == Owner::Ours);
        ours.map(|(key, (_, target, _))| (*key, self.effect(*target))).collect()
    }

    fn effect(&self, target: Target) -> Effect {
        match target {
            Target::Blackhole => Effect::Blackhole,
            Target::Unreachable => Effect::Unreachable,
            Target::Other => panic!("never asked for"),
            Target::Nexthop(id) => {
                let mut links = match &self.objects[&id].1 {
                    HeldShape::Member(member) => vec![member.link],
                    HeldShape::Group(_, members) => members.iter().map(|(id, _)| self.link_of(*id)).collect(),
                    HeldShape::Other => panic!("a route through an object that is not ours"),
                };
                links.sort_unstable();
                Effect::Via(links)
            }
        }
    }

    fn link_of(&self, id: NhId) -> IfIndex {
        match &self.objects[&id].1 {
            HeldShape::Member(member) => member.link,
            HeldShape::Group(..) | HeldShape::Other => panic!("a group in a group"),
        }
    }

    /// Objects of ours that neither a route nor a group in use names. One that does the same as one in use stands ready for routes
    /// that are served by that for now.
    pub(super) fn unused(&self) -> Vec<NhId> {
        let mut used: BTreeSet<NhId> = BTreeSet::new();
        for (_, target, _) in self.routes.values() {
            if let Target::Nexthop(id) = target {
                used.insert(*id);
                if let Some((_, HeldShape::Group(_, members))) = self.objects.get(id) {
                    used.extend(members.iter().map(|(member, _)| *member));
                }
            }
        }
        let in_use: Vec<_> = used.iter().filter_map(|id| self.objects.get(id)).map(|(_, shape)| shape).collect();
        let ours = self.objects.iter().filter(|(_, (owner, _))| *owner == Owner::Ours);
        let unused = ours.filter(|(id, (_, shape))| !used.contains(id) && !in_use.contains(&shape));
        unused.map(|(id, _)| *id).collect()
    }
}
