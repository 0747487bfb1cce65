//! A world whose truth is known: scenes are made up from a seed, drawn to real video files, and described in
//! words.
//!
//! ```text
//! seed -> scene -> changes of it -> pictures          captions -> pairs, a benchmark
//!         director                  raster, scene     claim, caption
//! ```
//!
//! A [`Scene`] is a function of time: where things are, what they do, where the camera looks. The
//! [`director`] makes scenes up and changes them in one respect, which gives near misses: the same things in
//! each other's places, the same events in another order. A caption says nothing but [`Claim`]s, and these
//! are judged by where things are to be seen, not by the script. So it can be told of any caption and any
//! video whether they belong together, and that is how negatives and the benchmark's relevance are found.
//!
//! Everything is a function of the seed. Captions are the same bytes everywhere; pictures are the same pixels
//! on one kind of machine.

pub mod director;
pub mod instructions;

mod caption;
mod claim;
mod folder;
mod mini;
mod pairs;
mod raster;
mod scene;
mod sprites;
mod style;
mod video;
mod vocabulary;
mod words;
mod write;

pub use caption::{Caption, describe, describe_change};
pub use claim::{Claim, Relation, Thing, When};
pub use director::{Change, ChangeKind};
pub use mini::{MiniSet, MiniSettings, write_mini};
pub use raster::draw;
pub use scene::{Action, Actor, Affine, Event, FPS, Ground, HEIGHT, Look, Pose, Scene, View, WIDTH};
pub use sprites::name as sprite_name;
pub use style::{Aspect, Style};
pub use video::{Family, Video, VideoCaption};
pub use vocabulary::{CameraMove, Colour, Direction, Pattern, Shape, Texture, Tone};
pub use write::{LARGEST_FAMILY, USUAL_FAMILY, WorldSettings, WorldSummary, write_world};
