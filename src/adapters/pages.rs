//! The pages for people in a browser: [`people`] has those for signing in and for whoever is signed in.

use axum::Router;

use super::entry::Shared;

mod people;

pub use people::{invitation_link, sign_in_link};

/// The face.
pub fn router(house: &Shared) -> Router {
    people::router(house)
}
