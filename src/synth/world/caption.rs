//! Captions of scenes in words, each with the claims it makes.

use crate::random::Random;

use super::claim::{Claim, Thing, When, cell_of, relation_at};
use super::director::{Change, pick};
use super::scene::{Look, Scene};
use super::style::{Aspect, Style};
use super::vocabulary::Pattern;
use super::words::{
    article, definite, enumerate, indefinite, name, number, participle, plural, third_person,
};

/// A description of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// In words.
    pub text: String,
    /// What the words say.
    pub claims: Vec<Claim>,
}

/// Describes `scene` in a style; nothing where there is nothing of the kind to say.
pub fn describe(scene: &Scene, style: Style, random: &mut Random) -> Option<Caption> {
    if scene.actors.is_empty() {
        return None;
    }
    let mut teller = Teller { scene, random, mentioned: vec![], sentences: vec![], claims: vec![] };
    match style {
        Style::Summary => teller.summary(),
        Style::Detailed => teller.detailed(),
        Style::Abstract => teller.kinds(),
        Style::Keywords => teller.keywords(),
        Style::Partial(Aspect::Objects) => teller.objects(),
        Style::Partial(Aspect::Spatial) => teller.places(),
        Style::Partial(Aspect::Temporal) => teller.events(),
        Style::Partial(Aspect::Camera) => teller.camera_first(),
        Style::Partial(Aspect::Event) => teller.one_event(),
    }
    (!teller.sentences.is_empty())
        .then(|| Caption { text: teller.sentences.join(" "), claims: teller.claims })
}

/// What is different in `changed`, in words to go with a picture or clip of `scene`.
pub fn describe_change(scene: &Scene, change: &Change, changed: &Scene, random: &mut Random) -> Caption {
    // Things of the source are known to who sees it; new ones are named at length.
    let mentioned = changed
        .actors
        .iter()
        .map(|actor| actor.look)
        .filter(|look| scene.actors.iter().any(|a| a.look == *look));
    let mentioned = mentioned.collect();
    let mut teller =
        Teller { scene: changed, random: &mut *random, mentioned, sentences: vec![], claims: vec![] };
    let known = |actor: usize| definite(thing(scene, actor));
    let clause = match change {
        &Change::Move(actor, _) => {
            teller.claims.push(Claim::Shows(thing(changed, actor)));
            let is = teller.stands(actor).unwrap_or_else(|| {
                let verb = if changed.actors[actor].count == 1 { "is" } else { "are" };
                format!("{verb} {}", pick(teller.random, &["elsewhere", "in another place"]))
            });
            format!("{} {is}", known(actor))
        }
        &Change::Swap(a, b) => {
            teller.claims.extend([a, b].map(|actor| Claim::Shows(thing(changed, actor))));
            let wording = pick(
                teller.random,
                &["have changed places", "have swapped places", "are the other way round"],
            );
            format!("{} and {} {wording}", known(a), known(b))
        }
        &Change::Replace(actor, _) => {
            let new = teller.shows(actor);
            format!("{new} instead of {}", known(actor))
        }
        &Change::Paint(actor, colour) => {
            teller.claims.push(Claim::Shows(thing(changed, actor)));
            let verb = if scene.actors[actor].count == 1 { "is" } else { "are" };
            format!("{} {verb} {}", known(actor), colour.word())
        }
        &Change::Count(actor, count) => {
            teller.claims.push(Claim::Shows(thing(changed, actor)));
            let name = name(changed.actors[actor].look, count);
            let all =
                if count == 1 { format!("only one {name}") } else { format!("{} {name}", number(count)) };
            pick(teller.random, &["there are", "it shows"])
                .replace("are", if count == 1 { "is" } else { "are" })
                + " "
                + &all
        }
        &Change::Act(event, _) => teller.does(event),
        &Change::Reorder(..) => {
            let order: Vec<String> = (0..changed.events.len()).map(|event| teller.does(event)).collect();
            teller.claim_order();
            format!("first {}", order.join(", then "))
        }
        Change::Camera(_) => teller.camera(),
        Change::Ground(_) => teller.ground(),
    };
    let claims = teller.claims;
    let lead = pick(random, &["the same, but", "like this, but", "now", "but"]);
    Caption { text: format!("{lead} {clause}"), claims }
}

/// Puts sentences together, and keeps account of what they claim.
struct Teller<'a> {
    scene: &'a Scene,
    random: &'a mut Random,
    /// What has a definite article by now.
    mentioned: Vec<Look>,
    sentences: Vec<String>,
    claims: Vec<Claim>,
}

impl Teller<'_> {
    fn summary(&mut self) {
        let order = self.random.permutation(self.scene.actors.len());
        let main = self.scene.events.first().map(|event| event.actor);
        let mut parts: Vec<String> =
            order.into_iter().filter(|&actor| Some(actor) != main).map(|actor| self.shows(actor)).collect();
        let mut text = match main {
            Some(_) => self.does(0),
            None => parts.remove(0),
        };
        if !parts.is_empty() {
            let with = pick(self.random, &["with", "near", "together with"]);
            text = format!("{text} {with} {}", enumerate(&parts));
        }
        if self.random.below(2) == 0 {
            text = format!("{text} in front of {}", self.ground_phrase());
        }
        self.say(&text);
    }

    fn detailed(&mut self) {
        self.objects();
        self.places();
        self.events();
        let camera = self.camera();
        self.say(&camera);
    }

    fn objects(&mut self) {
        let order = self.random.permutation(self.scene.actors.len());
        let things: Vec<String> = order.iter().map(|&actor| self.shows(actor)).collect();
        let one = order.len() == 1 && self.scene.actors[order[0]].count == 1;
        let lead = match self.random.below(3) {
            0 => {
                if one {
                    "there is"
                } else {
                    "there are"
                }
            }
            1 => "the video shows",
            _ => "one can see",
        };
        self.say(&format!("{lead} {}", enumerate(&things)));
        let ground = self.ground();
        self.say(&ground);
    }

    fn places(&mut self) {
        let mut said = false;
        for b in 0..self.scene.actors.len() {
            for a in 0..b {
                let (a, b) = if self.random.below(2) == 0 { (a, b) } else { (b, a) };
                said |= self.relation(a, b);
            }
        }
        for actor in 0..self.scene.actors.len() {
            // A place of its own is worth a sentence where there is no other thing to tell it by, and now and
            // then.
            if !said || self.random.below(3) == 0 {
                said |= self.place(actor);
            }
        }
    }

    fn relation(&mut self, a: usize, b: usize) -> bool {
        let of = |when| {
            let time = if when == When::End { 1.0 } else { 0.0 };
            let relation = relation_at(self.scene, a, b, time)?;
            let claim = Claim::Related(thing(self.scene, a), relation, thing(self.scene, b), when);
            claim.holds(self.scene).then_some((when, relation))
        };
        let relations: Vec<_> = match of(When::Throughout) {
            Some(throughout) => vec![throughout],
            None => [When::Start, When::End].into_iter().filter_map(of).collect(),
        };
        for &(when, relation) in &relations {
            let (first, second) = (self.refer(a), self.refer(b));
            let words = pick(self.random, relation.words());
            let verb = if self.scene.actors[a].count == 1 { "is" } else { "are" };
            let time = match when {
                When::Throughout => "",
                When::Start => "at first ",
                When::End => "in the end ",
            };
            let inverted = self.random.below(3) == 0;
            self.say(&if inverted {
                format!("{time}{words} {second} {verb} {first}")
            } else {
                format!("{time}{first} {verb} {words} {second}")
            });
            self.claims.push(Claim::Related(thing(self.scene, a), relation, thing(self.scene, b), when));
        }
        !relations.is_empty()
    }

    fn place(&mut self, actor: usize) -> bool {
        let stands = self.stands(actor);
        if let Some(stands) = &stands {
            let name = self.refer(actor);
            self.say(&format!("{name} {stands}"));
        }
        stands.is_some()
    }

    /// That an actor is in its part of the picture, without its name; nothing where it does not stay there.
    fn stands(&mut self, actor: usize) -> Option<String> {
        let cell = cell_of(self.scene.on_screen(actor, 0.0));
        let claim = Claim::Stands(thing(self.scene, actor), cell);
        claim.holds(self.scene).then(|| {
            self.claims.push(claim);
            let row = ["top", "bottom"][cell[1]];
            let column = ["left", "centre", "right"][cell[0]];
            let verb = if self.scene.actors[actor].count == 1 { "is" } else { "are" };
            format!("{verb} {} {row} {column}", pick(self.random, &["at the", "in the"]))
        })
    }

    fn events(&mut self) {
        let events = self.scene.events.len();
        let clauses: Vec<String> = (0..events).map(|event| self.does(event)).collect();
        self.claim_order();
        match &clauses[..] {
            [] => {
                self.claims.push(Claim::Quiet);
                let wording =
                    pick(self.random, &["nothing moves", "everything stays as it is", "nothing happens"]);
                self.say(wording);
            }
            [only] => self.say(only),
            [first, second] if self.random.below(2) == 0 => {
                let after = self.random.below(2) == 0;
                self.say(&if after {
                    format!("{second} after {first}")
                } else {
                    format!("{first} before {second}")
                });
            }
            [first, rest @ ..] => {
                let rest: Vec<String> = rest.iter().map(|clause| format!("then {clause}")).collect();
                self.say(&format!("first {first}, {}", rest.join(", ")));
            }
        }
    }

    fn claim_order(&mut self) {
        for pair in self.scene.events.windows(2) {
            let [first, then] = [0, 1].map(|number| thing(self.scene, pair[number].actor));
            self.claims.push(Claim::Before(first, then));
        }
    }

    fn one_event(&mut self) {
        if !self.scene.events.is_empty() {
            let event = self.random.below(self.scene.events.len());
            let clause = self.does(event);
            self.say(&clause);
        }
    }

    fn camera_first(&mut self) {
        let camera = self.camera();
        let actor = self.random.below(self.scene.actors.len());
        let name = self.shows(actor);
        let ground = self.ground_phrase();
        let before = pick(self.random, &["over", "across", "on"]);
        self.say(&format!("{camera} {before} {ground} with {name}"));
    }

    fn kinds(&mut self) {
        let mut counts = std::collections::BTreeMap::<&'static str, usize>::new();
        for actor in &self.scene.actors {
            *counts.entry(actor.look.kind()).or_default() += actor.count;
        }
        let mut kinds = Vec::new();
        for (kind, count) in counts {
            let words =
                if count == 1 { article(kind) } else { format!("{} {}", number(count), plural(kind)) };
            kinds.push(words);
            self.claims.push(Claim::Kind(kind, count));
        }
        let dark = Claim::Dark(true).holds(self.scene);
        let place = if dark { "in the dark" } else { "in a bright place" };
        let active = self.scene.events.len().min(2);
        let mood: &[&str] = match active {
            0 => &["at rest", "in a calm scene", "doing nothing"],
            1 => &["with one change", "where one thing happens"],
            _ => &["in a lively scene", "with much going on"],
        };
        self.claims.push(Claim::Dark(dark));
        self.claims.push(Claim::Active(active));
        let mood = pick(self.random, mood);
        self.say(&format!("{} {place}, {mood}", enumerate(&kinds)));
    }

    fn keywords(&mut self) {
        let mut words = Vec::new();
        for actor in 0..self.scene.actors.len() {
            let thing = thing(self.scene, actor);
            self.claims.push(Claim::Shows(thing));
            let name = name(thing.look, thing.count);
            words.push(if thing.count == 1 { name } else { format!("{} {name}", number(thing.count)) });
        }
        for event in &self.scene.events {
            self.claims.push(Claim::Does(thing(self.scene, event.actor), event.action));
            let [(verb, rest), _] = event.action.words();
            words.push(format!("{}{rest}", participle(verb)));
        }
        let ground = self.scene.ground;
        self.claims.push(Claim::Ground(ground));
        words.push(format!("{} {} background", ground.tone.word(), ground.pattern.word()));
        self.claims.push(Claim::Camera(self.scene.camera.clone()));
        if self.scene.camera.is_empty() {
            words.push("still camera".to_owned());
        }
        words.extend(self.scene.camera.iter().map(|movement| movement.noun().to_owned()));
        let order = self.random.permutation(words.len());
        self.sentences.push(order.into_iter().map(|word| words[word].clone()).collect::<Vec<_>>().join(", "));
    }

    /// An actor by name and number, large where it is.
    fn shows(&mut self, actor: usize) -> String {
        let what = thing(self.scene, actor);
        self.claims.push(Claim::Shows(what));
        if self.scene.actors[actor].large && !self.mentioned.contains(&what.look) {
            self.claims.push(Claim::Large(what));
            self.mentioned.push(what.look);
            return format!("a large {}", name(what.look, 1));
        }
        self.refer(actor)
    }

    /// An actor by name, with the article that is due.
    fn refer(&mut self, actor: usize) -> String {
        let what = thing(self.scene, actor);
        if self.mentioned.contains(&what.look) {
            return definite(what);
        }
        self.mentioned.push(what.look);
        self.claims.push(Claim::Shows(what));
        indefinite(what)
    }

    fn does(&mut self, event: usize) -> String {
        let event = &self.scene.events[event];
        let name = self.refer(event.actor);
        let what = thing(self.scene, event.actor);
        self.claims.push(Claim::Does(what, event.action));
        let (verb, rest) = pick(self.random, &event.action.words());
        let verb = if what.count == 1 { third_person(verb) } else { verb.to_owned() };
        format!("{name} {verb}{rest}")
    }

    fn camera(&mut self) -> String {
        self.claims.push(Claim::Camera(self.scene.camera.clone()));
        let subject = pick(self.random, &["the camera", "the view"]);
        match self.scene.camera[..] {
            [] => format!("{subject} {}", pick(self.random, &["stays still", "does not move", "is steady"])),
            [only] => format!("{subject} {}", only.word()),
            [first, second, ..] => {
                let then = pick(self.random, &["and then", "then"]);
                format!("{subject} {} {then} {}", first.word(), second.word())
            }
        }
    }

    fn ground(&mut self) -> String {
        let ground = self.scene.ground;
        match self.random.below(2) {
            0 => {
                self.claims.push(Claim::Ground(ground));
                format!("the background is {} and {}", ground.tone.word(), ground.pattern.word())
            }
            _ => format!("behind is {}", self.ground_phrase()),
        }
    }

    fn ground_phrase(&mut self) -> String {
        let ground = self.scene.ground;
        self.claims.push(Claim::Ground(ground));
        let pattern = if ground.pattern == Pattern::Plain { "plain" } else { ground.pattern.word() };
        article(&format!("{} {pattern} background", ground.tone.word()))
    }

    fn say(&mut self, clause: &str) {
        let mut letters = clause.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        self.sentences.push(format!("{first}{}.", letters.as_str()));
    }
}

fn thing(scene: &Scene, actor: usize) -> Thing {
    let actor = &scene.actors[actor];
    Thing { look: actor.look, count: actor.count }
}
