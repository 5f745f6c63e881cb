//! The layouts of types that people send: which are told apart, which are refused, and that the codec can
//! carry every type that is accepted.
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Key, MAX_NAME, cut, key_of};
use crate::ipc::codec::{decode_message, encode_message};
use crate::ipc::message::{Json, Message};
use crate::ipc::probe::{Layout, layout_of};

fn layout<T: DeserializeOwned>() -> Layout {
    layout_of::<T>().unwrap_or_else(|_| panic!("{} was refused", std::any::type_name::<T>()))
}

fn fingerprint<T: DeserializeOwned>() -> u64 {
    layout::<T>().fingerprint
}

fn travels<T: Message + PartialEq + Debug>(values: impl IntoIterator<Item = T>) {
    let key = key_of::<T>().unwrap();
    for value in values {
        let mut bytes = Vec::new();
        encode_message(&value, &mut bytes).unwrap_or_else(|err| panic!("{key:?}: {err}"));
        let back = decode_message::<T>(&bytes).unwrap_or_else(|err| panic!("{key:?}: {err:?}"));
        assert_eq!(back, value, "{key:?}");
    }
}

/// Types of one name in modules of their own: what two versions of a program call the same.
macro_rules! versions {
    ($($version:ident { $($body:item)* })*) => {$(
        mod $version {
            use super::*;
            $(#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)] $body)*
        }
    )*};
}

versions! {
    admin { pub(super) struct User { pub(super) id: u64, pub(super) admin: bool, pub(super) name: String } }
    quota { pub(super) struct User { pub(super) id: u64, pub(super) quota: bool, pub(super) name: String } }
    other_order {
        pub(super) struct User { pub(super) admin: bool, pub(super) id: u64, pub(super) name: String }
    }
    other_type {
        pub(super) struct User { pub(super) id: u32, pub(super) admin: bool, pub(super) name: String }
    }
    fewer { pub(super) struct User { pub(super) id: u64, pub(super) admin: bool } }
    more {
        pub(super) struct User { pub(super) id: u64, pub(super) admin: bool, pub(super) name: String, pub(super) age: u8 }
    }
    optional {
        pub(super) struct User { pub(super) id: u64, pub(super) admin: Option<bool>, pub(super) name: String }
    }
    many {
        pub(super) struct User { pub(super) id: u64, pub(super) admin: bool, pub(super) name: Vec<String> }
    }
    renamed {
        #[serde(rename_all = "UPPERCASE")]
        pub(super) struct User { pub(super) id: u64, pub(super) admin: bool, pub(super) name: String }
    }
    nested {
        pub(super) struct User { pub(super) id: u64, pub(super) inner: Inner }
        pub(super) struct Inner { pub(super) admin: bool, pub(super) name: String }
    }
    nested_quota {
        pub(super) struct User { pub(super) id: u64, pub(super) inner: Inner }
        pub(super) struct Inner { pub(super) quota: bool, pub(super) name: String }
    }
    nested_name {
        pub(super) struct User { pub(super) id: u64, pub(super) inner: Other }
        pub(super) struct Other { pub(super) admin: bool, pub(super) name: String }
    }
    tuple { pub(super) struct User(pub(super) u64, pub(super) bool, pub(super) String); }
    unit { pub(super) struct User; }
    newtype { pub(super) struct User(pub(super) u64); }
    enumerated { pub(super) enum User { Admin, Guest } }
    more_variants { pub(super) enum User { Admin, Guest, Robot } }
    variant_order { pub(super) enum User { Guest, Admin } }
    variant_content { pub(super) enum User { Admin, Guest(u8) } }
    variant_type { pub(super) enum User { Admin, Guest(u16) } }
    variant_tuple { pub(super) enum User { Admin, Guest(u8, u8) } }
    variant_struct { pub(super) enum User { Admin, Guest { age: u8 } } }
    variant_field { pub(super) enum User { Admin, Guest { old: u8 } } }
    in_option { pub(super) struct User { pub(super) kind: Option<Kind> } pub(super) enum Kind { A, B(u8) } }
    in_option_else {
        pub(super) struct User { pub(super) kind: Option<Kind> }
        pub(super) enum Kind { A, B(i8) }
    }
    in_vec { pub(super) struct User { pub(super) kind: Vec<Kind> } pub(super) enum Kind { A, B(u8) } }
    in_vec_else { pub(super) struct User { pub(super) kind: Vec<Kind> } pub(super) enum Kind { A, B(i8) } }
    in_map {
        pub(super) struct User { pub(super) kind: BTreeMap<u8, Kind> }
        pub(super) enum Kind { A, B(u8) }
    }
    in_map_else {
        pub(super) struct User { pub(super) kind: BTreeMap<u8, Kind> }
        pub(super) enum Kind { A, B(i8) }
    }
    in_enum {
        pub(super) enum User { X, Y(u8, Option<Kind>) }
        pub(super) enum Kind { A, B(u8), C { c: Deep } }
        pub(super) enum Deep { D, E(u8) }
    }
    in_enum_else {
        pub(super) enum User { X, Y(u8, Option<Kind>) }
        pub(super) enum Kind { A, B(u8), C { c: Deep } }
        pub(super) enum Deep { D, E(i8) }
    }
    list { pub(super) struct User { pub(super) id: u8, pub(super) next: Option<Box<User>> } }
    list_else {
        pub(super) struct User { pub(super) id: u8, pub(super) next: Option<Box<User>>, pub(super) last: bool }
    }
    tree { pub(super) enum User { Node(Box<User>, Box<User>), Leaf(u8) } }
    tree_else { pub(super) enum User { Node(Box<User>, Box<User>), Leaf(u16) } }
    after_nonzero { pub(super) struct User { pub(super) n: NonZeroU32, pub(super) last: u8 } }
    after_nonzero_else { pub(super) struct User { pub(super) n: NonZeroU32, pub(super) last: i8 } }
    after_json {
        pub(super) struct User { pub(super) n: Json<admin::User>, pub(super) last: u8, pub(super) kind: Kind }
        pub(super) enum Kind { A, B(u8) }
    }
    after_json_type {
        pub(super) struct User { pub(super) n: Json<admin::User>, pub(super) last: i8, pub(super) kind: Kind }
        pub(super) enum Kind { A, B(u8) }
    }
    after_json_kind {
        pub(super) struct User { pub(super) n: Json<admin::User>, pub(super) last: u8, pub(super) kind: Kind }
        pub(super) enum Kind { A, B(i8) }
    }
    after_json_other {
        pub(super) struct User { pub(super) n: Json<quota::User>, pub(super) last: u8, pub(super) kind: Kind }
        pub(super) enum Kind { A, B(u8) }
    }
    behind_json {
        pub(super) struct User { pub(super) n: Inner, pub(super) last: u8 }
        pub(super) struct Inner { pub(super) n: Json<admin::User>, pub(super) x: u8 }
    }
    behind_json_else {
        pub(super) struct User { pub(super) n: Inner, pub(super) last: i8 }
        pub(super) struct Inner { pub(super) n: Json<admin::User>, pub(super) x: u8 }
    }
    behind_json_in {
        pub(super) struct User { pub(super) n: Inner, pub(super) last: u8 }
        pub(super) struct Inner { pub(super) n: Json<admin::User>, pub(super) x: i8 }
    }
    json_variant { pub(super) enum User { A(Json<admin::User>), B { a: Json<admin::User>, b: u8 }, C(u8) } }
    json_variant_field {
        pub(super) enum User { A(Json<admin::User>), B { a: Json<admin::User>, b: i8 }, C(u8) }
    }
    json_variant_else {
        pub(super) enum User { A(Json<admin::User>), B { a: Json<admin::User>, b: u8 }, C(i8) }
    }
    pair { pub(super) struct User { pub(super) a: (u8, u16), pub(super) b: [u8; 3] } }
    pair_else { pub(super) struct User { pub(super) a: (u8, u16), pub(super) b: [u8; 4] } }
    generic {
        pub(super) struct User { pub(super) a: Of<u8>, pub(super) b: Of<u16>, pub(super) c: Of<u8> }
        pub(super) struct Of<T> { pub(super) it: T }
    }
    generic_else {
        pub(super) struct User { pub(super) a: Of<u8>, pub(super) b: Of<u16>, pub(super) c: Of<u16> }
        pub(super) struct Of<T> { pub(super) it: T }
    }
}

#[test]
fn layouts_that_differ_have_fingerprints_that_differ() {
    macro_rules! table {
        ($($version:ident)*) => { vec![$((stringify!($version), layout::<$version::User>())),*] };
    }
    let table = table![
        admin quota other_order other_type fewer more optional many renamed nested nested_quota nested_name tuple
        unit newtype enumerated more_variants variant_order variant_content variant_type variant_tuple
        variant_struct variant_field in_option in_option_else in_vec in_vec_else in_map in_map_else in_enum
        in_enum_else list list_else tree tree_else after_nonzero after_nonzero_else after_json after_json_type
        after_json_kind after_json_other behind_json behind_json_else behind_json_in json_variant
        json_variant_field json_variant_else pair pair_else generic generic_else
    ];
    for (at, (version, layout)) in table.iter().enumerate() {
        assert_eq!(layout.name, "User", "{version}");
        for (other, other_layout) in &table[..at] {
            assert_ne!(layout.fingerprint, other_layout.fingerprint, "{version} and {other}");
        }
    }
}

#[test]
fn a_layout_is_the_same_wherever_and_however_often_it_is_read() {
    versions! { copy { pub(super) struct User { pub(super) id: u64, pub(super) admin: bool, pub(super) name: String } } }
    assert_eq!(layout::<copy::User>(), layout::<admin::User>());
    assert_eq!(layout::<in_enum::User>(), layout::<in_enum::User>());
    assert_eq!(layout::<Box<admin::User>>(), layout::<admin::User>());
    assert_eq!(fingerprint::<Cow<'static, str>>(), fingerprint::<String>());
    // The figures themselves: whoever changes how layouts are read parts versions of a program in a reload.
    assert_eq!(format!("{:x}", fingerprint::<admin::User>()), "f9b7c34327ffea17");
    assert_eq!(format!("{:x}", fingerprint::<in_enum::User>()), "7812c618b2ebff49");
}

#[test]
fn what_has_no_name_is_called_what_it_is() {
    let table = [
        (layout::<String>(), "str"),
        (layout::<u64>(), "u64"),
        (layout::<i128>(), "i128"),
        (layout::<bool>(), "bool"),
        (layout::<char>(), "char"),
        (layout::<f32>(), "f32"),
        (layout::<()>(), "unit"),
        (layout::<(u8, String)>(), "tuple 2"),
        (layout::<[u8; 4]>(), "tuple 4"),
        (layout::<Vec<u8>>(), "seq"),
        (layout::<HashMap<u8, u8>>(), "map"),
        (layout::<Option<u8>>(), "option"),
        (layout::<Duration>(), "Duration"),
        (layout::<Result<u8, u8>>(), "Result"),
        (layout::<unit::User>(), "User"),
    ];
    for (layout, name) in table {
        assert_eq!(layout.name, name);
    }
    assert_ne!(fingerprint::<Vec<u8>>(), fingerprint::<Vec<u16>>());
    assert_ne!(fingerprint::<HashMap<u8, u8>>(), fingerprint::<HashMap<u8, u16>>());
    assert_ne!(fingerprint::<Option<Vec<u8>>>(), fingerprint::<Option<Vec<Vec<u8>>>>());
    assert_ne!(fingerprint::<(u8, u8)>(), fingerprint::<[u16; 2]>());
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u8),
    Tuple(u8, String),
    Struct { a: Option<i64>, b: Vec<Kind> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Attributes {
    #[serde(rename = "other", alias = "another")]
    renamed: u8,
    #[serde(default)]
    defaulted: u16,
    #[serde(default = "seven")]
    sevens: u32,
    #[serde(skip)]
    skipped: u64,
    #[serde(with = "as_text")]
    as_text: u64,
    #[serde(serialize_with = "as_text::serialize", deserialize_with = "as_text::deserialize")]
    as_text_too: u64,
    last: String,
}

fn seven() -> u32 {
    7
}

mod as_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(" at ") { Ok(Self(text)) } else { Err(format!("{text} is no address")) }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    it: Vec<Kind>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Generic<T, U = ()> {
    it: T,
    no: PhantomData<U>,
    unit: (),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Borrowed {
    text: Cow<'static, str>,
    list: Cow<'static, [u8]>,
    boxed: Box<str>,
    slice: Box<[u16]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    New(u8),
    Struct { a: Option<i64> },
}

/// Bytes as bytes, of one length only.
#[derive(Debug, Clone, PartialEq)]
struct Id([u8; 16]);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("16 bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Id, E> {
                bytes.try_into().map(Id).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Neg(Box<Expr>),
    All(Vec<Expr>),
    Let { name: String, is: Box<Expr>, of: Statement },
    Number(f64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Statement {
    Do(Box<Expr>),
    Then(Box<Statement>, Box<Statement>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Skipping {
    First,
    Second(u8),
    #[serde(skip)]
    #[expect(dead_code, reason = "it is there to be skipped")]
    Never,
}

fn kinds() -> Vec<Kind> {
    let nested = Kind::Struct { a: Some(-1), b: vec![Kind::Unit, Kind::New(2)] };
    vec![Kind::Unit, Kind::New(1), Kind::Tuple(2, "two".into()), Kind::Struct { a: None, b: vec![nested] }]
}

#[test]
fn the_codec_carries_what_has_a_key() {
    travels([0, 1, u64::MAX]);
    travels([i128::MIN, 0, i128::MAX]);
    travels([u128::MAX]);
    travels(['\0', 'ä', '\u{10ffff}']);
    travels([0.1_f32, f32::MAX]);
    travels([String::new(), "text".repeat(1000)]);
    travels([()]);
    travels([(1_u8, "a".to_owned(), [1_u16; 3], ((), true))]);
    travels([vec![Some(1_u8), None]]);
    travels([Some(Some(1_u8)), Some(None), None]);
    travels([Ok::<u8, String>(1), Err("no".into())]);
    travels([HashMap::from([(Kind::New(1), 1_u8), (Kind::Unit, 2)])]);
    travels([BTreeMap::from([((1_u8, 2_u8), BTreeSet::from(["a".to_owned()]))])]);
    travels([VecDeque::from([1_i8, -1])]);
    travels([Duration::new(3, 4)]);
    travels([SystemTime::UNIX_EPOCH + Duration::new(5, 6)]);
    travels([PathBuf::from("/a/b")]);
    travels([IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    travels(["127.0.0.1:80".parse::<SocketAddr>().unwrap(), "[::1]:80".parse().unwrap()]);
    travels([NonZeroU32::MIN, NonZeroU32::MAX]);
    travels([(1..4_u32, 1..=4_u8, std::ops::Bound::Included(1_u8))]);
    travels([std::num::Wrapping(1_u8)]);
    travels(std::ffi::CString::new("a"));
    travels(kinds());
    travels([Transparent { it: kinds() }]);
    travels([Generic { it: kinds(), no: PhantomData::<u8>, unit: () }]);
    travels([Borrowed { text: "a".into(), list: vec![1].into(), boxed: "b".into(), slice: vec![1].into() }]);
    travels([Attributes {
        renamed: 1,
        defaulted: 2,
        sevens: 3,
        skipped: 0,
        as_text: 4,
        as_text_too: 5,
        last: "6".into(),
    }]);
    travels([Address("me at home".into())]);
    travels([(Address("me at home".into()), NonZeroU8::MIN)]);
    travels([Id([3; 16])]);
    travels([Skipping::First, Skipping::Second(2)]);
    travels([admin::User { id: 1, admin: true, name: "a".into() }]);
    travels([unit::User]);
    travels([tuple::User(1, true, "a".into())]);
    travels([newtype::User(1)]);
}

#[test]
fn types_that_contain_themselves_have_keys() {
    let two = || Expr::Neg(Box::new(Expr::Number(2.0)));
    travels([
        Expr::Add(Box::new(two()), Box::new(Expr::All(vec![two(), Expr::All(vec![])]))),
        Expr::Let { name: "x".into(), is: Box::new(two()), of: Statement::Do(Box::new(two())) },
    ]);
    travels([tree::User::Node(Box::new(tree::User::Leaf(1)), Box::new(tree::User::Leaf(2)))]);
    travels([list::User { id: 1, next: Some(Box::new(list::User { id: 2, next: None })) }]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Forest(Vec<Forest>, HashMap<String, Forest>);
    travels([Forest(vec![Forest(vec![], HashMap::new())], HashMap::new())]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Endless(Box<Endless>);
    assert_eq!(layout::<Endless>().name, "Endless");
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Bottomless {
        A(Box<Bottomless>),
        B(Box<Bottomless>, u8),
    }
    assert_eq!(layout::<Bottomless>().name, "Bottomless");
}

#[test]
fn a_type_of_absurd_size_has_a_key_too() {
    type Many<T> = Box<[T; 32]>;
    type Much = Many<Many<Many<Many<Many<u8>>>>>;
    assert_eq!(layout::<Much>(), layout::<Much>());
}

#[test]
fn adjacently_tagged_enums_are_refused_because_the_codec_cannot_read_them() {
    for value in [Adjacent::Unit, Adjacent::New(1), Adjacent::Struct { a: Some(1) }] {
        let mut bytes = Vec::new();
        encode_message(&value, &mut bytes).unwrap();
        decode_message::<Adjacent>(&bytes).unwrap_err();
    }
    assert!(key_of::<Adjacent>().is_err() && key_of::<Vec<Adjacent>>().is_err());
    travels([Json(Adjacent::Unit), Json(Adjacent::New(1)), Json(Adjacent::Struct { a: Some(1) })]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A { x: u8 },
    B { y: u8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    A(u8),
    B(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: admin::User,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FlatMap {
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    A,
    B { list: Vec<Option<(u8, Untagged)>> },
}

#[derive(Debug, Deserialize)]
struct Ignoring {
    _it: IgnoredAny,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BehindJson {
    json: Json<Flat>,
    value: Value,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Swallowing {
    #[serde(deserialize_with = "or_none")]
    value: Option<Value>,
}

fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Ok(Value::deserialize(deserializer).ok())
}

#[test]
fn types_that_ask_what_comes_next_are_refused() {
    let table = [
        layout_of::<Value>(),
        layout_of::<Tagged>(),
        layout_of::<Untagged>(),
        layout_of::<Flat>(),
        layout_of::<FlatMap>(),
        layout_of::<Deep>(),
        layout_of::<Ignoring>(),
        layout_of::<BehindJson>(),
        layout_of::<Swallowing>(),
        layout_of::<Vec<Tagged>>(),
        layout_of::<Option<Box<Untagged>>>(),
        layout_of::<HashMap<String, Value>>(),
        layout_of::<(u8, NonZeroU8, Flat)>(),
        layout_of::<Result<u8, Flat>>(),
    ];
    for (at, layout) in table.iter().enumerate() {
        assert!(layout.is_err(), "{at}: {layout:?}");
    }
}

#[test]
fn a_refusal_names_the_type_and_the_remedy() {
    let said = key_of::<Vec<Tagged>>().unwrap_err().to_string();
    for part in ["shape::tests::Tagged", "asks what comes next", "`flatten`", "send it as Json<T>"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(key_of::<Vec<Tagged>>(), key_of::<Vec<Tagged>>());
}

#[test]
fn a_type_that_panics_at_dummies_has_a_key() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Strict {
        first: u8,
        #[serde(deserialize_with = "never_empty")]
        second: String,
        last: u8,
    }
    fn never_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(text.len() > 1000, "the test panics here, as it should");
        Ok(text)
    }
    assert_eq!(layout::<Strict>(), layout::<Strict>());
    let _ = |strict: Strict| (strict.first, strict.second, strict.last);
}

#[test]
fn a_key_is_found_once_and_is_the_same_on_every_thread() {
    let here = key_of::<admin::User>().unwrap();
    let there = std::thread::spawn(|| key_of::<admin::User>().unwrap()).join().unwrap();
    assert!(std::ptr::eq(here, there) && std::ptr::eq(here, key_of::<admin::User>().unwrap()));
    assert_ne!(here.hash, key_of::<quota::User>().unwrap().hash);
    assert_eq!(*here, Key::new("User", fingerprint::<admin::User>()));
}

#[test]
fn long_names_are_cut_and_still_differ() {
    let long = "ä".repeat(MAX_NAME);
    let (one, two) = (cut(&format!("{long}1")), cut(&format!("{long}2")));
    assert!(one != two && one.len() <= MAX_NAME && one.len() > MAX_NAME - 4, "{one}");
    assert_eq!(cut("short"), "short");
    assert_eq!(cut(&"x".repeat(MAX_NAME)).len(), MAX_NAME);
    assert_ne!(Key::new(&one, 1).hash, Key::new(&two, 1).hash);
    assert_ne!(Key::new(&one, 1).hash, Key::new(&one, 2).hash);
}
