//! What is said.
use std::collections::BTreeMap;

use cluster_core::Ask;
use serde::{Deserialize, Serialize};

/// A numbered message of any size.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    number: u64,
    padding: String,
}

impl Said {
    pub(crate) fn new(number: u64, size: usize) -> Self {
        Self { number, padding: letter(number).repeat(size) }
    }

    /// In words: its number, its size, and whether it is as it was sent.
    pub(crate) fn describe(&self) -> String {
        let size = self.padding.len();
        let state = if self.padding == letter(self.number).repeat(size) { "whole" } else { "TORN" };
        format!("{} {size} {state}", self.number)
    }
}

fn letter(number: u64) -> &'static str {
    let at = (number % 26) as usize;
    &"abcdefghijklmnopqrstuvwxyz"[at..=at]
}

/// As `Said`, for a receiver that does not listen at first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Late {
    pub(crate) number: u64,
    pub(crate) padding: String,
}

/// Something for a handler to do: `words::work`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Work(pub(crate) String);

/// A question of any kind: `words::reply`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Question(pub(crate) String);
impl Ask for Question {
    type Answer = String;
}

/// A question that nobody answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Unanswered;
impl Ask for Unanswered {
    type Answer = ();
}

/// An order as an old version of a program knows it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Order")]
pub(crate) struct OldOrder {
    pub(crate) id: u32,
    pub(crate) admin: bool,
    pub(crate) name: String,
}

/// The same order as a new version knows it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Order")]
pub(crate) struct NewOrder {
    pub(crate) id: u32,
    pub(crate) quota: u8,
    pub(crate) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flat {
    pub(crate) id: u8,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Tagged {
    Circle { radius: f64 },
}

/// A struct that leaves fields out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lean {
    pub(crate) id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}
