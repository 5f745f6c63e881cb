//! Reads the layout of a type from its `Deserialize`, without a value of it.
//!
//! A [`Node`] is a deserializer that has no data: whatever the type asks for, it notes the question and answers
//! with a dummy. One pass takes one variant of each enum, so there are as many passes as variants: each new
//! enum leaves a plan for every variant that was not taken, which is the list of choices that led to it.
//!
//! Some types reject dummies (`NonZeroU32` a 0, a parsed address an empty text). The pass is then repeated with
//! the next candidate for the value that was given last; when there is none left, with the struct around it
//! offered as a map that lacks this field, so that at least its other fields are seen.
//!
//! What is learned depends on the type alone: not on the process, the build or the order of types.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use crate::ipc::fnv::Fnv;
use crate::ipc::node::Node;

/// Questions that are answered for one type; more are a type of absurd size.
const MAX_STEPS: u32 = 1 << 20;
/// Containers in each other; each costs stack.
const MAX_DEPTH: usize = 128;

/// What was learned about a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// serde's name of it, or what it is made of.
    pub(crate) name: String,
    /// A hash of all questions that it asks.
    pub(crate) fingerprint: u64,
}

/// The type decides by what it finds in the data how to read it, but the data does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsksWhatComesNext;

/// Asks `T` for its layout.
pub(crate) fn layout_of<T: DeserializeOwned>() -> Result<Layout, AsksWhatComesNext> {
    let mut survey = Survey::default();
    survey.plans.push_back(Plan::default());
    while let Some(mut plan) = survey.plans.pop_front() {
        while let Err(blame) = survey.pass::<T>(&plan) {
            if survey.is_over() || !plan.adapt(blame) {
                break;
            }
        }
        if survey.is_over() {
            break;
        }
    }
    if survey.asks {
        return Err(AsksWhatComesNext);
    }
    Ok(Layout { name: survey.name.unwrap_or_default(), fingerprint: survey.trace.value() })
}

/// All passes over one type.
#[derive(Default)]
struct Survey {
    trace: Fnv,
    name: Option<String>,
    steps: u32,
    asks: bool,
    plans: VecDeque<Plan>,
    /// Enums that have left their plans.
    planned: HashSet<u64>,
    /// A variant of each enum that was made without a rejection.
    good: HashMap<u64, u32>,
}

impl Survey {
    fn is_over(&self) -> bool {
        self.asks || self.steps > MAX_STEPS
    }

    fn pass<T: DeserializeOwned>(&mut self, plan: &Plan) -> Result<(), Blame> {
        let mut pass = Pass {
            survey: self,
            plan,
            taken: Vec::new(),
            open: Vec::new(),
            met: Vec::new(),
            quiet: 0,
            blame: Blame::default(),
        };
        let root = Node { pass: &mut pass, place: 0 };
        // A `Deserialize` that panics at a dummy has rejected it.
        let made = catch_unwind(AssertUnwindSafe(|| T::deserialize(root).map(drop)));
        let blame = pass.blame;
        self.trace.text("pass");
        if matches!(made, Ok(Ok(()))) { Ok(()) } else { Err(blame) }
    }
}

/// What one pass answers where it could answer otherwise.
#[derive(Clone, Default)]
struct Plan {
    /// The variants to take, enum by enum; what comes after these is up to the pass.
    choices: Vec<u32>,
    /// How many candidates were rejected, by place.
    rejected: BTreeMap<u64, usize>,
    /// Fields for which there is no candidate, by place.
    lost: BTreeSet<u64>,
}

impl Plan {
    /// Makes the next pass differ; `false` where that is no use.
    fn adapt(&mut self, blame: Blame) -> bool {
        if let Some((place, candidates)) = blame.last {
            let rejected = self.rejected.entry(place).or_default();
            if *rejected + 1 < candidates {
                *rejected += 1;
                return true;
            }
        }
        blame.field.is_some_and(|field| self.lost.insert(field))
    }
}

/// Why a pass ended early.
#[derive(Clone, Copy, Default)]
struct Blame {
    /// The value that was given last, and how many candidates there are for it.
    last: Option<(u64, usize)>,
    /// The innermost field in which it ended.
    field: Option<u64>,
}

pub(crate) struct Pass<'s> {
    survey: &'s mut Survey,
    plan: &'s Plan,
    /// The choices so far.
    taken: Vec<u32>,
    /// The containers we are in, and the variant where it is an enum.
    open: Vec<(u64, Option<u32>)>,
    /// The containers whose insides were noted, in order.
    met: Vec<u64>,
    /// Over 0 inside a container that was met before: nothing is noted, and answers are short.
    quiet: usize,
    blame: Blame,
}

impl Pass<'_> {
    pub(crate) fn note(&mut self, word: &str, number: usize) {
        if self.quiet == 0 {
            self.survey.trace.text(word);
            self.survey.trace.number(number as u64);
        }
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.survey.steps += 1;
        if self.survey.is_over() { Err(Stop) } else { Ok(()) }
    }

    fn entitle(&mut self, name: impl FnOnce() -> String) {
        self.survey.name.get_or_insert_with(name);
    }

    /// Opens a container. It is the same as another where its visitor is of the same type; the type's name is
    /// good for that, but it is never noted, because other builds may have another.
    pub(crate) fn enter<V>(&mut self, container: &Container) -> Result<u64, Stop> {
        self.step()?;
        self.entitle(|| container.title());
        if self.open.len() >= MAX_DEPTH {
            self.give_up();
            return Err(Stop);
        }
        let id = container.identity(std::any::type_name::<V>());
        let before = self.met.iter().position(|&met| met == id);
        match before {
            Some(nth) => self.note("again", nth),
            None if self.quiet == 0 => {
                self.met.push(id);
                container.note_into(&mut self.survey.trace);
            }
            None => {}
        }
        if before.is_some() || self.quiet > 0 {
            self.quiet += 1;
        }
        self.open.push((id, None));
        Ok(id)
    }

    pub(crate) fn leave(&mut self) {
        self.open.pop();
        self.quiet = self.quiet.saturating_sub(1);
        self.note("end", 0);
    }

    /// Says which of the candidates to give.
    pub(crate) fn leaf(&mut self, place: u64, kind: &'static str, candidates: usize) -> Result<usize, Stop> {
        self.step()?;
        self.entitle(|| kind.to_owned());
        self.note(kind, 0);
        self.blame.last = Some((place, candidates));
        Ok(self.plan.rejected.get(&place).copied().unwrap_or(0))
    }

    /// Which variant of the innermost container to take.
    pub(crate) fn choose(&mut self, id: u64, variants: usize) -> Result<u32, Stop> {
        let good = self.survey.good.get(&id).copied();
        let chosen = if self.quiet > 0 {
            let fresh = |variant: &u32| !self.open.contains(&(id, Some(*variant)));
            match good.or_else(|| (0..variants as u32).find(fresh)) {
                Some(variant) => variant,
                // Each of its variants contains another.
                None => {
                    self.give_up();
                    return Err(Stop);
                }
            }
        } else {
            let chosen = match self.plan.choices.get(self.taken.len()) {
                Some(&planned) => planned,
                None if self.survey.planned.insert(id) => self.plan_the_others(variants),
                None => good.unwrap_or(0),
            };
            self.taken.push(chosen);
            chosen
        };
        if let Some(innermost) = self.open.last_mut() {
            innermost.1 = Some(chosen);
        }
        self.note("variant", chosen as usize);
        Ok(chosen)
    }

    /// Takes the first variant, and leaves a plan for each of the others.
    fn plan_the_others(&mut self, variants: usize) -> u32 {
        for variant in 1..variants as u32 {
            let mut plan = self.plan.clone();
            plan.choices.clone_from(&self.taken);
            plan.choices.push(variant);
            self.survey.plans.push_back(plan);
        }
        0
    }

    /// The variant was made: the type does not reject it.
    pub(crate) fn made(&mut self, id: u64, variant: u32) {
        self.survey.good.entry(id).or_insert(variant);
    }

    /// Whether to answer as shortly as possible.
    pub(crate) fn is_brief(&self) -> bool {
        self.quiet > 0
    }

    pub(crate) fn is_lost(&self, field: u64) -> bool {
        self.plan.lost.contains(&field)
    }

    /// The pass ends, and this field is around what ended it.
    pub(crate) fn ends_in(&mut self, field: u64) {
        self.blame.field.get_or_insert(field);
    }

    /// The pass is about to end, and no candidate can help.
    pub(crate) fn give_up(&mut self) {
        self.blame.last = None;
    }

    /// The type asked what the data cannot say.
    pub(crate) fn asks<O>(&mut self) -> Result<O, Stop> {
        self.survey.asks = true;
        Err(Stop)
    }
}

/// Something with other things inside, as the type describes it.
pub(crate) struct Container<'n> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'n str,
    pub(crate) len: usize,
    pub(crate) parts: &'n [&'static str],
}

impl Container<'_> {
    pub(crate) fn unnamed(kind: &'static str) -> Self {
        Container { kind, name: "", len: 0, parts: &[] }
    }

    fn title(&self) -> String {
        match (self.name, self.len) {
            ("", 0) => self.kind.to_owned(),
            ("", len) => format!("{} {len}", self.kind),
            (name, _) => name.to_owned(),
        }
    }

    fn note_into(&self, trace: &mut Fnv) {
        trace.text(self.kind);
        trace.text(self.name);
        trace.number(self.len as u64);
        self.parts.iter().for_each(|part| trace.text(part));
    }

    fn identity(&self, visitor: &str) -> u64 {
        let mut hash = Fnv::default();
        hash.text(visitor);
        self.note_into(&mut hash);
        hash.value()
    }
}

/// The place of the `at`-th thing inside a container.
pub(crate) fn inside(container: u64, at: usize) -> u64 {
    let mut hash = Fnv::default();
    hash.number(container);
    hash.number(at as u64);
    hash.value()
}

/// The type does not take what it was given, or is not asked any further.
#[derive(Debug, thiserror::Error)]
#[error("not a value of the type")]
pub(crate) struct Stop;

impl serde::de::Error for Stop {
    fn custom<M: std::fmt::Display>(_: M) -> Self {
        Self
    }
}
