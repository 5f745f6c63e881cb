//! The deserializer without data: asks a [`Pass`] what to answer, as bincode would (fields and variants by
//! position, texts and bytes whole).
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::ipc::probe::{Container, Pass, Stop, inside};

const TEXTS: [&str; 8] =
    ["", "0", "a", "a.b", "127.0.0.1", "127.0.0.1:1", "http://a.b/", "2000-01-01T00:00:00Z"];
const BYTES: [&[u8]; 5] = [&[], b"0", &[0; 16], &[0; 32], &[0; 64]];

/// A value that the type asks for.
pub(crate) struct Node<'p, 's> {
    pub(crate) pass: &'p mut Pass<'s>,
    pub(crate) place: u64,
}

impl<'p, 's> Node<'p, 's> {
    /// Visits a container and whatever is inside.
    fn within<V, O>(
        self,
        container: &Container,
        visit: impl FnOnce(&mut Pass<'s>, u64) -> Result<O, Stop>,
    ) -> Result<O, Stop> {
        let id = self.pass.enter::<V>(container)?;
        let made = visit(self.pass, id);
        self.pass.leave();
        made
    }
}

/// Fields by position, as the codec gives them; as a map where one of them cannot be given.
fn visit_fields<'de, V: Visitor<'de>>(
    pass: &mut Pass<'_>,
    base: u64,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, Stop> {
    if (0..fields.len()).all(|at| !pass.is_lost(inside(base, at))) {
        visitor.visit_seq(Elements { pass, base, next: 0, len: fields.len(), are_fields: true })
    } else {
        visitor.visit_map(OtherFields { pass, base, next: 0, fields })
    }
}

fn visit_elements<'de, V: Visitor<'de>>(
    pass: &mut Pass<'_>,
    base: u64,
    len: usize,
    visitor: V,
) -> Result<V::Value, Stop> {
    visitor.visit_seq(Elements { pass, base, next: 0, len, are_fields: false })
}

macro_rules! leaves {
    ($($method:ident $visit:ident $kind:literal [$($candidate:expr),+])*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let candidates = [$($candidate),+];
            let nth = self.pass.leaf(self.place, $kind, candidates.len())?;
            visitor.$visit(candidates[nth])
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_, '_> {
    type Error = Stop;

    leaves! {
        deserialize_bool visit_bool "bool" [false, true]
        deserialize_i8 visit_i8 "i8" [0, 1, 10]
        deserialize_i16 visit_i16 "i16" [0, 1, 10]
        deserialize_i32 visit_i32 "i32" [0, 1, 10]
        deserialize_i64 visit_i64 "i64" [0, 1, 10]
        deserialize_i128 visit_i128 "i128" [0, 1, 10]
        deserialize_u8 visit_u8 "u8" [0, 1, 10]
        deserialize_u16 visit_u16 "u16" [0, 1, 10]
        deserialize_u32 visit_u32 "u32" [0, 1, 10]
        deserialize_u64 visit_u64 "u64" [0, 1, 10]
        deserialize_u128 visit_u128 "u128" [0, 1, 10]
        deserialize_f32 visit_f32 "f32" [0.0, 1.0, 10.0]
        deserialize_f64 visit_f64 "f64" [0.0, 1.0, 10.0]
        deserialize_char visit_char "char" ['\0', 'a']
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let nth = self.pass.leaf(self.place, "str", TEXTS.len())?;
        visitor.visit_str(TEXTS[nth])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let nth = self.pass.leaf(self.place, "bytes", BYTES.len())?;
        visitor.visit_bytes(BYTES[nth])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within::<V, _>(&Container::unnamed("unit"), |_, _| visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let container = Container { name, ..Container::unnamed("unit struct") };
        self.within::<V, _>(&container, |_, _| visitor.visit_unit())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within::<V, _>(&Container::unnamed("option"), |pass, id| match pass.is_brief() {
            false => visitor.visit_some(Node { pass, place: inside(id, 0) }),
            true => visitor.visit_none(),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let container = Container { name, ..Container::unnamed("newtype struct") };
        self.within::<V, _>(&container, |pass, id| {
            visitor.visit_newtype_struct(Node { pass, place: inside(id, 0) })
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within::<V, _>(&Container::unnamed("seq"), |pass, id| {
            let len = usize::from(!pass.is_brief());
            visit_elements(pass, id, len, visitor)
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.within::<V, _>(&Container::unnamed("map"), |pass, id| {
            let left = usize::from(!pass.is_brief());
            visitor.visit_map(Pairs { pass, base: id, left })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        let container = Container { len, ..Container::unnamed("tuple") };
        self.within::<V, _>(&container, |pass, id| visit_elements(pass, id, len, visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let container = Container { kind: "tuple struct", name, len, parts: &[] };
        self.within::<V, _>(&container, |pass, id| visit_elements(pass, id, len, visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let container = Container { kind: "struct", name, len: fields.len(), parts: fields };
        self.within::<V, _>(&container, |pass, id| visit_fields(pass, id, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let container = Container { kind: "enum", name, len: variants.len(), parts: variants };
        self.within::<V, _>(&container, |pass, id| {
            let variant = pass.choose(id, variants.len())?;
            let base = inside(id, variant as usize);
            let made = visitor.visit_enum(Chosen { pass: &mut *pass, variant, base })?;
            pass.made(id, variant);
            Ok(made)
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        self.pass.asks()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        self.pass.asks()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        self.pass.asks()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence or a tuple, or the fields of a struct.
struct Elements<'p, 's> {
    pass: &'p mut Pass<'s>,
    base: u64,
    next: usize,
    len: usize,
    are_fields: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Stop;

    fn next_element_seed<D: DeserializeSeed<'de>>(&mut self, seed: D) -> Result<Option<D::Value>, Stop> {
        if self.next == self.len {
            return Ok(None);
        }
        let place = inside(self.base, self.next);
        self.next += 1;
        let made = seed.deserialize(Node { pass: &mut *self.pass, place });
        if made.is_err() && self.are_fields {
            self.pass.ends_in(place);
        }
        made.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.next)
    }
}

/// The entries of a map.
struct Pairs<'p, 's> {
    pass: &'p mut Pass<'s>,
    base: u64,
    left: usize,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_> {
    type Error = Stop;

    fn next_key_seed<D: DeserializeSeed<'de>>(&mut self, seed: D) -> Result<Option<D::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Node { pass: &mut *self.pass, place: inside(self.base, 0) }).map(Some)
    }

    fn next_value_seed<D: DeserializeSeed<'de>>(&mut self, seed: D) -> Result<D::Value, Stop> {
        seed.deserialize(Node { pass: &mut *self.pass, place: inside(self.base, 1) })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct that can be given, by name. The struct will miss the others and fail; but only after
/// it has taken all of these.
struct OtherFields<'p, 's> {
    pass: &'p mut Pass<'s>,
    base: u64,
    next: usize,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for OtherFields<'_, '_> {
    type Error = Stop;

    fn next_key_seed<D: DeserializeSeed<'de>>(&mut self, seed: D) -> Result<Option<D::Value>, Stop> {
        while let Some(field) = self.fields.get(self.next) {
            self.next += 1;
            if !self.pass.is_lost(inside(self.base, self.next - 1)) {
                self.pass.note("field", self.next - 1);
                let name: StrDeserializer<'_, Stop> = field.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        // Another candidate for the last field would not help.
        self.pass.give_up();
        Ok(None)
    }

    fn next_value_seed<D: DeserializeSeed<'de>>(&mut self, seed: D) -> Result<D::Value, Stop> {
        let place = inside(self.base, self.next - 1);
        let made = seed.deserialize(Node { pass: &mut *self.pass, place });
        if made.is_err() {
            self.pass.ends_in(place);
        }
        made
    }
}

/// The variant that was chosen, as the codec gives it: by number.
struct Chosen<'p, 's> {
    pass: &'p mut Pass<'s>,
    variant: u32,
    base: u64,
}

impl<'de> EnumAccess<'de> for Chosen<'_, '_> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<D: DeserializeSeed<'de>>(self, seed: D) -> Result<(D::Value, Self), Stop> {
        let number: U32Deserializer<Stop> = self.variant.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_, '_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        self.pass.note("unit", 0);
        Ok(())
    }

    fn newtype_variant_seed<D: DeserializeSeed<'de>>(self, seed: D) -> Result<D::Value, Stop> {
        self.pass.note("newtype", 0);
        seed.deserialize(Node { pass: self.pass, place: inside(self.base, 0) })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.pass.note("tuple", len);
        visit_elements(self.pass, self.base, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.pass.note("struct", fields.len());
        fields.iter().for_each(|field| self.pass.note(field, 0));
        visit_fields(self.pass, self.base, fields, visitor)
    }
}
