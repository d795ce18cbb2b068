//! Whether a trial's figures can be trusted, and what a reader should know of it.
//!
//! *In:* what was asked, what was recorded, what was seen beside the load. *Out:* a [`judge::Judgement`] of
//! [`cause::Cause`]s and [`note::Note`]s. *Must not know:* the engine, this machine (its cores are given as a
//! number), and how anything is shown.

pub mod cause;
mod drift;
pub(crate) mod judge;
pub mod note;
