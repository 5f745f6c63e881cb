//! What can be sent: any serde type that owns its data.
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

/// A value that processes of a cluster can send each other.
///
/// Every type that is `Serialize`, `Deserialize` and `Send` and owns its data is one; there is nothing to
/// implement. Sender and receiver know a type by the name that serde gives it and by its layout: the names and
/// types of its fields and variants. Where the layouts differ, as they may while a reload replaces one version
/// of a program by another, a message is not delivered, instead of being read as something else.
///
/// Values travel in a compact binary form that does not describe itself. Types that ask what comes next
/// (`serde_json::Value`, `#[serde(flatten)]`, `#[serde(tag = "..")]` with or without `content`, `#[serde(untagged)]`) or leave fields out
/// (`#[serde(skip_serializing_if = "..")]`) are refused with an error that says so: send them as [`Json<T>`].
/// Where serde's two directions disagree (`skip_serializing` without `skip_deserializing`, or a variant with
/// `#[serde(skip)]` before others) no binary form can carry a type, and nobody can tell: use [`Json<T>`] too.
///
/// A message has at most 64 MiB when encoded, and at most 256 levels of things in each other.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Said {
///     by: String,
///     text: String,
/// }
///
/// fn is_message<T: cluster_core::Message>() {}
/// is_message::<Said>();
/// is_message::<(u32, Vec<Said>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    label = "not a message",
    note = "a message derives `serde::Serialize` and `serde::Deserialize`, is `Send`, and owns its data"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}

/// A question: a message with an answer of a known type.
///
/// ```
/// use cluster_core::Ask;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct HowMany {
///     of: String,
/// }
///
/// impl Ask for HowMany {
///     type Answer = u64;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no question",
    note = "write `impl Ask for {Self} {{ type Answer = ..; }}`"
)]
pub trait Ask: Message {
    /// What the peer answers.
    type Answer: Message;
}

/// Carries a value as JSON text: for types that the binary form cannot carry.
///
/// Those are `serde_json::Value` and types with `#[serde(flatten)]`, `#[serde(tag = "..")]`,
/// `#[serde(untagged)]` or `#[serde(skip_serializing_if = "..")]`. It may be the message, or a part of one. It
/// costs the time of writing and reading JSON. The layout of `T` is not compared, its Rust path is: what does
/// not fit is found when the JSON is read.
///
/// ```
/// use cluster_core::Json;
///
/// let config = Json(serde_json::json!({ "color": "red", "size": 3 }));
/// assert_eq!(config.0["color"], "red");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = std::any::type_name::<Self>();
        // JSON in JSON would be a text full of backslashes.
        if serializer.is_human_readable() {
            return serializer.serialize_newtype_struct(name, &self.0);
        }
        let text = serde_json::to_vec(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_newtype_struct(name, &Text(&text))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let readable = deserializer.is_human_readable();
        // The name is all of `T` that a key can know.
        deserializer
            .deserialize_newtype_struct(std::any::type_name::<Self>(), Wrapper { readable, of: PhantomData })
    }
}

struct Wrapper<T> {
    readable: bool,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Wrapper<T> {
    type Value = Json<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as JSON")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Json<T>, D::Error> {
        if self.readable {
            T::deserialize(inner).map(Json)
        } else {
            inner.deserialize_bytes(Reader(PhantomData))
        }
    }
}

/// Bytes as bytes: as a sequence they would be written one by one.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Reader<T>(PhantomData<T>);

impl<T: DeserializeOwned> Visitor<'_> for Reader<T> {
    type Value = Json<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON text")
    }

    fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<Json<T>, E> {
        serde_json::from_slice(text).map(Json).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ipc::codec::{decode_message, encode_message};
    use crate::ipc::shape::key_of;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Tagged {
        Circle { radius: f64 },
        Square { side: f64 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(i64),
        Text(String),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Mixed {
        before: u32,
        json: Json<Flat>,
        after: Vec<Json<Untagged>>,
    }

    fn travels<T: Message + PartialEq + fmt::Debug>(value: T) {
        key_of::<T>().unwrap();
        let mut bytes = Vec::new();
        encode_message(&value, &mut bytes).unwrap();
        assert_eq!(decode_message::<T>(&bytes).unwrap(), value);
    }

    #[test]
    fn json_carries_what_the_binary_form_cannot() {
        let flat = Flat { id: 3, rest: [("color".to_owned(), serde_json::json!("red"))].into(), note: None };
        travels(Json(serde_json::json!({ "a": [1, null, "x", { "b": 1.5 }] })));
        travels(Json(Tagged::Circle { radius: 1.5 }));
        travels(Json(vec![Untagged::Number(7), Untagged::Text("seven".into())]));
        travels(Json(flat.clone()));
        travels(Mixed { before: 1, json: Json(flat), after: vec![Json(Untagged::Number(1))] });
    }

    #[test]
    fn in_a_readable_format_json_is_the_value_itself() {
        let text = serde_json::to_string(&Json(Tagged::Square { side: 2.0 })).unwrap();
        assert_eq!(text, r#"{"kind":"square","side":2.0}"#);
        assert_eq!(serde_json::from_str::<Json<Tagged>>(&text).unwrap().0, Tagged::Square { side: 2.0 });
    }

    #[test]
    fn json_of_other_types_has_other_keys() {
        let keys = [
            key_of::<Json<Tagged>>().unwrap(),
            key_of::<Json<Untagged>>().unwrap(),
            key_of::<Json<serde_json::Value>>().unwrap(),
            key_of::<Json<Vec<Tagged>>>().unwrap(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other.hash != key.hash), "{key:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_json_of_the_type_are_an_error() {
        let mut bytes = Vec::new();
        encode_message(&Json("text".to_owned()), &mut bytes).unwrap();
        let err = decode_message::<Json<u32>>(&bytes).unwrap_err();
        assert!(err.to_string().contains("expected u32"), "{err}");
    }
}
