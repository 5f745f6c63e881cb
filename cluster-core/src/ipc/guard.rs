//! Refuses to leave a field out: bincode would write bytes that are read as other fields.
use std::fmt::Display;

use serde::Serialize;
use serde::ser::{
    Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value that is serialized as it is, but fails where a field is left out
/// (`#[serde(skip_serializing_if = "..")]`), at any depth. Costs nothing when compiled with optimization.
pub(crate) struct Guarded<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Guard(serializer))
    }
}

/// Stands before a serializer, or before what it returned for the parts of a value.
struct Guard<S>(S);

macro_rules! plain {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self $(, $name: $type)*) -> Result<S::Ok, S::Error> {
            self.0.$method($($name),*)
        }
    )*};
}

macro_rules! valued {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<T: Serialize + ?Sized>(self, $($name: $type,)* value: &T) -> Result<S::Ok, S::Error> {
            self.0.$method($($name,)* &Guarded(value))
        }
    )*};
}

macro_rules! compound {
    ($($method:ident($($name:ident: $type:ty),*) -> $compound:ident;)*) => {$(
        #[inline]
        fn $method(self, $($name: $type),*) -> Result<Self::$compound, S::Error> {
            self.0.$method($($name),*).map(Guard)
        }
    )*};
}

impl<S: Serializer> Serializer for Guard<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Guard<S::SerializeSeq>;
    type SerializeTuple = Guard<S::SerializeTuple>;
    type SerializeTupleStruct = Guard<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Guard<S::SerializeTupleVariant>;
    type SerializeMap = Guard<S::SerializeMap>;
    type SerializeStruct = Guard<S::SerializeStruct>;
    type SerializeStructVariant = Guard<S::SerializeStructVariant>;

    plain! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    valued! {
        serialize_some();
        serialize_newtype_struct(name: &'static str);
        serialize_newtype_variant(name: &'static str, index: u32, variant: &'static str);
    }

    compound! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! parts {
    ($($compound:ident $method:ident;)*) => {$(
        impl<S: $compound> $compound for Guard<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Guarded(value))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

parts! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl<S: SerializeMap> SerializeMap for Guard<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(&Guarded(key))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Guarded(value))
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

macro_rules! fields {
    ($($compound:ident)*) => {$(
        impl<S: $compound> $compound for Guard<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(name, &Guarded(value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                Err(left_out(name))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

#[cold]
fn left_out<E: Error>(field: &str) -> E {
    E::custom(format_args!(
        "the field `{field}` is left out (`skip_serializing_if` does that), and the other side would read the \
         next one in its place: send it as Json<T>"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::ipc::codec::{decode_message, encode_message};
    use crate::ipc::message::Message;

    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    struct LeavesOut {
        first: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        second: Option<u8>,
        third: u8,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Variant {
        Struct {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            it: Option<u8>,
        },
        New(LeavesOut),
        Tuple(u8, LeavesOut),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Tuple(u8, LeavesOut);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct New(LeavesOut);

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Skips {
        first: u8,
        #[serde(skip)]
        second: u64,
        #[serde(skip, default)]
        third: Option<String>,
        fourth: u8,
    }

    fn encoded<T: Message>(value: &T) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        encode_message(value, &mut bytes).map_err(|err| err.to_string())?;
        Ok(bytes)
    }

    #[test]
    fn a_field_that_is_left_out_is_an_error_at_any_depth() {
        let bad = LeavesOut::default;
        let table = [
            encoded(&bad()),
            encoded(&Some(bad())),
            encoded(&vec![bad()]),
            encoded(&(1_u8, bad())),
            encoded(&BTreeMap::from([(1_u8, bad())])),
            encoded(&Tuple(1, bad())),
            encoded(&New(bad())),
            encoded(&Variant::Struct { it: None }),
            encoded(&Variant::New(bad())),
            encoded(&Variant::Tuple(1, bad())),
            encoded(&Ok::<LeavesOut, u8>(bad())),
        ];
        for (at, encoded) in table.into_iter().enumerate() {
            let said = encoded.unwrap_err();
            assert!(said.contains("is left out") && said.contains("Json<T>"), "{at}: {said}");
        }
        let good = Variant::Tuple(1, LeavesOut { first: 1, second: Some(2), third: 3 });
        assert_eq!(decode_message::<Variant>(&encoded(&good).unwrap()).unwrap(), good);
    }

    #[test]
    fn a_map_whose_keys_leave_something_out_is_refused_too() {
        #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        struct Key {
            #[serde(skip_serializing_if = "Option::is_none")]
            it: Option<u8>,
        }
        encoded(&BTreeMap::from([(Key { it: Some(1) }, 1_u8)])).unwrap();
        encoded(&BTreeMap::from([(Key { it: None }, 1_u8)])).unwrap_err();
    }

    #[test]
    fn a_field_that_is_always_skipped_is_no_error() {
        let bytes = encoded(&Skips { first: 1, second: 2, third: Some("3".into()), fourth: 4 }).unwrap();
        assert_eq!(bytes, [1, 4]);
        assert_eq!(
            decode_message::<Skips>(&bytes).unwrap(),
            Skips { first: 1, fourth: 4, ..Skips::default() }
        );
    }

    #[test]
    fn what_is_guarded_has_the_bytes_that_it_has_without() {
        let value =
            (1_u8, -2_i64, "text", 'c', Some([1_u128; 2]), 1.5_f32, (), BTreeMap::from([("k", vec![true])]));
        let plain = plain_bytes(&value);
        assert_eq!(plain_bytes(&Guarded(&value)), plain);
    }

    fn plain_bytes<T: Serialize>(value: &T) -> Vec<u8> {
        let mut buf = [0; 256];
        crate::ipc::codec::encode(value, &mut buf).unwrap().to_vec()
    }
}
