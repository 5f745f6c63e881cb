//! Believes no length and no depth of bytes that came from elsewhere.
//!
//! bincode makes room for a text as long as it claims to be, follows nesting until the stack ends, and counts
//! off a sequence of elements that have no bytes for as long as it was told. Here texts are taken from the bytes
//! that are there, and depth and number of elements have bounds.
use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::ipc::text;

/// Containers in each other, `Some` and newtypes among them. The stack of a thread with 2 MiB bears them.
pub(crate) const MAX_DEPTH: u32 = 256;
/// Elements of all sequences and maps of one message.
const MAX_ELEMENTS: usize = super::codec::MAX_MESSAGE;

/// What one message may still do.
pub(crate) struct Bounds {
    depth: Cell<u32>,
    elements: Cell<usize>,
}

impl Bounds {
    pub(crate) fn new() -> Self {
        Self { depth: Cell::new(MAX_DEPTH), elements: Cell::new(MAX_ELEMENTS) }
    }

    /// Counts one container while `visit` runs.
    fn deeper<O, E: Error>(&self, visit: impl FnOnce() -> Result<O, E>) -> Result<O, E> {
        let left = self.depth.get();
        if left == 0 {
            return Err(E::custom(format_args!("it is nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth.set(left - 1);
        let made = visit();
        self.depth.set(left);
        made
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        let left = self.elements.get().checked_sub(1).ok_or_else(|| E::custom("it has too many elements"))?;
        self.elements.set(left);
        Ok(())
    }
}

/// Stands before a deserializer, and before all that comes of it.
pub(crate) struct Frugal<'b, X> {
    pub(crate) inner: X,
    pub(crate) bounds: &'b Bounds,
}

macro_rules! leaves {
    ($($method:ident to $inner:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )*};
}

macro_rules! containers {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let bounds = self.bounds;
            bounds.deeper(|| self.inner.$method($($name,)* Frugal { inner: visitor, bounds }))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Frugal<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_any to deserialize_any;
        deserialize_bool to deserialize_bool;
        deserialize_i8 to deserialize_i8;
        deserialize_i16 to deserialize_i16;
        deserialize_i32 to deserialize_i32;
        deserialize_i64 to deserialize_i64;
        deserialize_i128 to deserialize_i128;
        deserialize_u8 to deserialize_u8;
        deserialize_u16 to deserialize_u16;
        deserialize_u32 to deserialize_u32;
        deserialize_u64 to deserialize_u64;
        deserialize_u128 to deserialize_u128;
        deserialize_f32 to deserialize_f32;
        deserialize_f64 to deserialize_f64;
        deserialize_char to deserialize_char;
        deserialize_str to deserialize_str;
        deserialize_bytes to deserialize_bytes;
        deserialize_byte_buf to deserialize_bytes;
        deserialize_unit to deserialize_unit;
        deserialize_identifier to deserialize_identifier;
        deserialize_ignored_any to deserialize_ignored_any;
    }

    /// As bytes, so that the room is made for what is there, and a long text is looked through once.
    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_bytes(Words(visitor))
    }

    containers! {
        deserialize_option();
        deserialize_seq();
        deserialize_map();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Takes a text as the bytes that it is made of.
struct Words<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Words<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    #[inline]
    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<V::Value, E> {
        if bytes.len() > text::PIECE {
            return self.0.visit_string(text::copy(bytes).map_err(E::custom)?);
        }
        self.0.visit_borrowed_str(std::str::from_utf8(bytes).map_err(E::custom)?)
    }
}

/// What a container calls; the rest goes to the visitor itself.
impl<'de, V: Visitor<'de>> Visitor<'de> for Frugal<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Frugal { inner, bounds: self.bounds })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Frugal<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Frugal { inner, bounds: self.bounds })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Frugal<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<Option<S::Value>, A::Error> {
        self.bounds.element()?;
        self.inner.next_element_seed(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Frugal<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<Option<S::Value>, A::Error> {
        self.bounds.element()?;
        self.inner.next_key_seed(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Frugal<'b, A> {
    type Error = A::Error;
    type Variant = Frugal<'b, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Frugal { inner, bounds: self.bounds }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Frugal<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, inner: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, inner: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Frugal { inner, bounds: self.bounds })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        inner: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Frugal { inner, bounds: self.bounds })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::ipc::codec::{decode_message, encode_message};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Deep {
        In(Box<Deep>),
        End { text: Option<(String, u8)> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct List {
        next: Option<Box<List>>,
    }

    #[test]
    fn depth_has_a_bound_and_the_stack_bears_it() {
        let mut deep = Deep::End { text: Some(("end".into(), 1)) };
        (0..200)
            .for_each(|_| deep = Deep::In(Box::new(std::mem::replace(&mut deep, Deep::End { text: None }))));
        let mut bytes = Vec::new();
        encode_message(&deep, &mut bytes).unwrap();
        assert_eq!(decode_message::<Deep>(&bytes).unwrap(), deep);
        for depth in [300, 10_000_000] {
            let err = decode_message::<Deep>(&vec![0; depth]).unwrap_err();
            assert!(err.to_string().contains("nested deeper"), "{err}");
            let err = decode_message::<List>(&vec![1; depth]).unwrap_err();
            assert!(err.to_string().contains("nested deeper"), "{err}");
        }
    }

    #[test]
    fn siblings_are_not_depth() {
        let many = vec![Some((vec![1_u8], "a".to_owned())); 1000];
        let mut bytes = Vec::new();
        encode_message(&many, &mut bytes).unwrap();
        assert_eq!(decode_message::<Vec<Option<(Vec<u8>, String)>>>(&bytes).unwrap(), many);
    }

    #[test]
    fn elements_without_bytes_are_not_counted_off_for_ever() {
        let endless = [253, 255, 255, 255, 255, 255, 255, 255, 127];
        let err = decode_message::<Vec<()>>(&endless).unwrap_err();
        assert!(err.to_string().contains("too many elements"), "{err}");
        assert_eq!(decode_message::<Vec<()>>(&[200]).unwrap().len(), 200);
    }
}
