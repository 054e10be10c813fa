//! JSON for the messages: lenient in, strict out.
//!
//! The generated messages derive serde and point here for the parts where agents and people differ
//! from the letter: a number for a string, a string for a number, a lone value for a list, `null`
//! for nothing, an enum's name in any case. What goes out has one form only: `lowerCamelCase` names,
//! enum names, RFC 3339 times, and 64-bit integers as JSON numbers (credits and sizes stay far below
//! 2^53).

use std::fmt;
use std::marker::PhantomData;

use prost_types::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;

/// A scalar that can be read from more than its own JSON type. Each reading is `None` where the
/// given value has none.
pub trait Lenient: Sized {
    /// Says what is expected, for error messages: "a string".
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// The reading of a JSON string.
    fn from_text(text: &str) -> Option<Self>;

    /// The reading of a JSON integer.
    fn from_integer(_: i64) -> Option<Self> {
        None
    }

    /// The reading of a JSON number with a fraction or an exponent.
    fn from_float(_: f64) -> Option<Self> {
        None
    }

    /// The reading of a JSON boolean.
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

impl Lenient for String {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn from_integer(value: i64) -> Option<Self> {
        Some(value.to_string())
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value.to_string())
    }
}

impl Lenient for i64 {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn from_integer(value: i64) -> Option<Self> {
        Some(value)
    }

    fn from_float(value: f64) -> Option<Self> {
        // Up to 2^53 every whole number has a float of its own.
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
    }
}

impl Lenient for i32 {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn from_text(text: &str) -> Option<Self> {
        i64::from_text(text)?.try_into().ok()
    }

    fn from_integer(value: i64) -> Option<Self> {
        value.try_into().ok()
    }

    fn from_float(value: f64) -> Option<Self> {
        i64::from_float(value)?.try_into().ok()
    }
}

impl Lenient for f64 {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim()
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
    }

    fn from_integer(value: i64) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the field is a float: nearest is right"
        )]
        Some(value as f64)
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl Lenient for bool {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" | "" => Some(false),
            _ => None,
        }
    }

    fn from_integer(value: i64) -> Option<Self> {
        match value {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Lenient for Timestamp {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 2030-01-31T12:00:00Z")
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

/// The enums of the API: their names and numbers, without the unspecified zero.
pub trait Enumeration {
    /// Name and number of each value that a caller can use.
    const NAMES: &'static [(&'static str, i32)];
}

/// An enum's number, as the messages hold it, read by its name.
struct Named<E>(i32, PhantomData<E>);

impl<E: Enumeration> Lenient for Named<E> {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (index, (name, _)) in E::NAMES.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }

    fn from_text(text: &str) -> Option<Self> {
        let found = E::NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()))?;
        Some(Self(found.1, PhantomData))
    }

    fn from_integer(value: i64) -> Option<Self> {
        let found = E::NAMES
            .iter()
            .find(|(_, number)| i64::from(*number) == value)?;
        Some(Self(found.1, PhantomData))
    }
}

/// Reads one scalar, or `None` from `null`.
struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Lenient> ScalarVisitor<T> {
    fn found<E: de::Error>(
        &self,
        value: Option<T>,
        given: de::Unexpected<'_>,
    ) -> Result<Option<T>, E> {
        value.map(Some).ok_or_else(|| E::invalid_value(given, self))
    }
}

impl<T: Lenient> Visitor<'_> for ScalarVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::expecting(f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        self.found(T::from_text(text), de::Unexpected::Str(text))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<T>, E> {
        self.found(T::from_integer(value), de::Unexpected::Signed(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<T>, E> {
        let parsed = i64::try_from(value).ok().and_then(T::from_integer);
        self.found(parsed, de::Unexpected::Unsigned(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<T>, E> {
        self.found(T::from_float(value), de::Unexpected::Float(value))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<T>, E> {
        self.found(T::from_bool(value), de::Unexpected::Bool(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

/// A scalar inside a list.
struct Item<T>(Option<T>);

impl<'de, T: Lenient> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        optional(from).map(Item)
    }
}

/// Reads an optional scalar field; `null` is absent.
///
/// # Errors
/// When the value has no reading as `T`.
pub fn optional<'de, T: Lenient, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(ScalarVisitor(PhantomData))
}

/// Reads a scalar field; `null` is its default.
///
/// # Errors
/// When the value has no reading as `T`.
pub fn one<'de, T: Lenient + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    optional(from).map(Option::unwrap_or_default)
}

/// Reads an enum field by name, in any case, or by number; `null` is unspecified.
///
/// # Errors
/// Lists the names when there is no such value.
pub fn enum_one<'de, E: Enumeration, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    Ok(optional::<Named<E>, D>(from)?.map_or(0, |named| named.0))
}

/// Reads a repeated scalar field; `null` is empty, a lone value is a list of one.
///
/// # Errors
/// When an item has no reading as `T`.
pub fn many<'de, T: Lenient, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct ListVisitor<T>(PhantomData<T>);

    impl<'de, T: Lenient> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, each item ")?;
            T::expecting(f)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(item) = items.next_element::<Item<T>>()? {
                values.extend(item.0);
            }
            Ok(values)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            ScalarVisitor(PhantomData)
                .visit_str(text)
                .map(Vec::from_iter)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
            ScalarVisitor(PhantomData)
                .visit_i64(value)
                .map(Vec::from_iter)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<T>, E> {
            ScalarVisitor(PhantomData)
                .visit_u64(value)
                .map(Vec::from_iter)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
    }
    from.deserialize_any(ListVisitor(PhantomData))
}

/// A message: only a JSON object will do. (A derived struct alone would also take a list.)
pub struct Message<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Message<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Message<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Message<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Message)
            }
        }
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads a message field; `null` is absent.
///
/// # Errors
/// When the value is not such a message.
pub fn message<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::<Message<T>>::deserialize(from).map(|message| message.map(|message| message.0))
}

/// Reads a repeated message field; `null` is empty.
///
/// # Errors
/// When an item is not such a message.
pub fn messages<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let items = Option::<Vec<Message<T>>>::deserialize(from)?;
    Ok(items
        .unwrap_or_default()
        .into_iter()
        .map(|message| message.0)
        .collect())
}

/// Writes an enum field as its name.
///
/// # Errors
/// Those of the serializer.
pub fn enum_name<E: Enumeration, S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
    match E::NAMES.iter().find(|(_, number)| number == value) {
        Some((name, _)) => to.serialize_str(name),
        None => to.serialize_none(),
    }
}

/// Writes an optional time as RFC 3339.
///
/// # Errors
/// Those of the serializer.
pub fn time<S: Serializer>(value: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// A set of `name=value` pairs, from a path or a query string, as a message would read them.
pub struct Pairs<'a>(pub &'a [(String, String)]);

impl<'de> Deserializer<'de> for Pairs<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        // A name given twice is a list; the message's own type decides whether it takes one.
        let mut grouped: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in self.0 {
            match grouped.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value),
                None => grouped.push((name, vec![value])),
            }
        }
        let entries = grouped
            .into_iter()
            .map(|(name, values)| (name, PairValue(values)));
        visitor.visit_map(de::value::MapDeserializer::new(entries))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// One value of a pair, or several under one name.
struct PairValue<'a>(Vec<&'a str>);

impl<'de> de::IntoDeserializer<'de, de::value::Error> for PairValue<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for PairValue<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0.as_slice() {
            [value] => visitor.visit_str(value),
            _ => visitor.visit_seq(de::value::SeqDeserializer::new(self.0.into_iter())),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn scalar<T: Lenient>(value: Value) -> Option<Option<T>> {
        optional(value).ok()
    }

    #[test]
    fn scalars_are_read_from_what_agents_send() {
        for five in [json!(5), json!(5.0), json!("5"), json!(" 5 ")] {
            assert_eq!(scalar::<i32>(five.clone()), Some(Some(5)), "{five}");
            assert_eq!(scalar::<i64>(five.clone()), Some(Some(5)), "{five}");
            assert_eq!(scalar::<f64>(five.clone()), Some(Some(5.0)), "{five}");
        }
        assert_eq!(scalar::<String>(json!(5)), Some(Some("5".to_owned())));
        assert_eq!(scalar::<String>(json!(1.5)), Some(Some("1.5".to_owned())));
        for yes in [json!(true), json!("TRUE"), json!("yes"), json!(1)] {
            assert_eq!(scalar::<bool>(yes.clone()), Some(Some(true)), "{yes}");
        }
        assert_eq!(scalar::<i32>(Value::Null), Some(None), "null is nothing");
    }

    #[test]
    fn what_has_no_reading_is_refused() {
        for wrong in [
            json!(5.5),
            json!("five"),
            json!(true),
            json!([5]),
            json!({}),
        ] {
            assert_eq!(scalar::<i32>(wrong.clone()), None, "{wrong}");
        }
        assert_eq!(scalar::<i32>(json!(i64::MAX)), None);
        assert_eq!(scalar::<i64>(json!(u64::MAX)), None);
        assert_eq!(scalar::<i64>(json!(1e300)), None, "beyond the exact floats");
        assert_eq!(scalar::<f64>(json!("inf")), None);
        assert_eq!(scalar::<bool>(json!(2)), None);
        assert_eq!(scalar::<String>(json!(true)), None);
    }

    #[test]
    fn a_list_may_be_alone_or_nothing() {
        let list = |value: Value| many::<String, _>(value).ok();
        assert_eq!(list(json!("a")), Some(vec!["a".to_owned()]));
        assert_eq!(
            list(json!(["a", 5])),
            Some(vec!["a".to_owned(), "5".to_owned()])
        );
        assert_eq!(list(Value::Null), Some(Vec::new()));
        assert_eq!(list(json!({"a": 1})), None);
    }
}
