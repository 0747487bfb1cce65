//! Which videos are the same, and where a clip is from: without a model.
//!
//! A [`Fingerprint`] is what a video looks like four times a second, as 24 x 24 greys without borders.
//! [`Fingerprints`] holds those of many videos and says which show the same ([`Fingerprints::matches`]),
//! puts versions of one together ([`groups`]), and finds what a clip was cut from
//! ([`Fingerprints::locate`]).
//!
//! What two pictures have in common is the correlation of their low frequencies (`signature.rs`), which
//! survives encoders, scaling, grey and logos. Crops are met by looking at a picture through 25 windows,
//! mirrored ones by looking from behind. That takes three steps:
//!
//! 1. An index over the signs of the frequencies proposes pairs of pictures (`index.rs`), and pairs of videos
//!    with enough of them on one line of time are looked at closer (`votes.rs`, `search.rs`). Pictures that
//!    more videos have than have the rest of a video count less, as common words do, and are not looked up:
//!    slates, title cards, test patterns. Those without structure (black, white) are left out.
//! 2. Of each pair, the lines of time that the proposals lie on are tried, at speeds of 0.5 to 2
//!    (`align.rs`). What counts is how the pictures *change* together: a fixed camera before one wall gives
//!    alike pictures at all times, and two recordings of it have nothing in common but the wall.
//! 3. From the best line on both videos are followed as far as they agree, and drift is followed, too
//!    (`follow.rs`).
//!
//! A group is what one of its videos holds at least half of, each by itself (`groups.rs`): what two videos
//! have in common with a third does not tie them together, and neither does an opening that many share.
//!
//! Embeddings of a model are not used: they find one scene that was filmed twice, which this must not.

mod align;
mod border;
mod cache;
mod collection;
mod compare;
mod error;
mod fingerprint;
mod follow;
mod groups;
mod index;
mod picture;
mod pool;
mod read;
mod search;
mod signature;
#[cfg(test)]
mod tests;
mod votes;

pub use cache::FingerprintCache;
pub use collection::Fingerprints;
pub use compare::{Match, MatchedRange};
pub use error::DuplicatesError;
pub use fingerprint::{Fingerprint, fingerprint, fingerprint_clip, fingerprint_image};
pub use groups::{Group, Member, groups};
pub use read::{read_clip, read_fingerprints};
