//! CBOR as rpc-v2-cbor uses it, to and from JSON values, for the stand-in.
//!
//! What JSON has no word for becomes an object: a timestamp is `{"epoch_s": …}`, a number that is
//! none `{"bad_number": …}`.

use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Value, json};

/// Reads one value and nothing after it.
///
/// # Errors
/// What is wrong with the bytes, in words.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder::new(bytes);
    let value = value(&mut decoder).map_err(|error| error.to_string())?;
    match decoder.position() == bytes.len() {
        true => Ok(value),
        false => Err("bytes after the end".to_owned()),
    }
}

/// Writes a value; numbers are integers or doubles.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(value, &mut encoder);
    encoder.into_writer()
}

fn value(from: &mut Decoder<'_>) -> Result<Value, minicbor::decode::Error> {
    Ok(match from.datatype()? {
        Type::Map | Type::MapIndef => {
            let length = from.map()?;
            let mut map = Map::new();
            while more(from, length, map.len() as u64)? {
                let key = from.str()?.to_owned();
                let value = value(from)?;
                if map.insert(key, value).is_some() {
                    return Err(minicbor::decode::Error::message("a key twice"));
                }
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let length = from.array()?;
            let mut items = Vec::new();
            while more(from, length, items.len() as u64)? {
                items.push(value(from)?);
            }
            Value::Array(items)
        }
        Type::String => Value::String(from.str()?.to_owned()),
        Type::Bool => Value::Bool(from.bool()?),
        Type::F16 | Type::F32 | Type::F64 => {
            let number = match from.datatype()? {
                Type::F64 => from.f64()?,
                Type::F32 => f64::from(from.f32()?),
                _ => f64::from(from.f16()?),
            };
            match number.is_finite() {
                true => json!(number),
                false => json!({"bad_number": number.to_string()}),
            }
        }
        Type::Tag => {
            if from.tag()? != Tag::new(1) {
                return Err(minicbor::decode::Error::message(
                    "a tag that is no timestamp",
                ));
            }
            json!({"epoch_s": value(from)?})
        }
        _ => json!(from.i64()?),
    })
}

/// Whether there is another item; passes over the break of an indefinite length.
fn more(
    from: &mut Decoder<'_>,
    length: Option<u64>,
    seen: u64,
) -> Result<bool, minicbor::decode::Error> {
    if let Some(length) = length {
        return Ok(seen < length);
    }
    let ends = from.datatype()? == Type::Break;
    if ends {
        from.skip()?;
    }
    Ok(!ends)
}

fn write(value: &Value, to: &mut Encoder<Vec<u8>>) {
    let written = match value {
        Value::Object(map) if map.len() == 1 && map.contains_key("epoch_s") => {
            to.tag(Tag::new(1)).unwrap();
            return write(&map["epoch_s"], to);
        }
        Value::Object(map) => {
            to.map(map.len() as u64).unwrap();
            for (key, value) in map {
                to.str(key).unwrap();
                write(value, to);
            }
            return;
        }
        Value::Array(items) => {
            to.array(items.len() as u64).unwrap();
            return items.iter().for_each(|item| write(item, to));
        }
        Value::String(text) => to.str(text).map(drop),
        Value::Bool(boolean) => to.bool(*boolean).map(drop),
        Value::Null => to.null().map(drop),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => to.i64(integer).map(drop),
            None => to.f64(number.as_f64().unwrap()).map(drop),
        },
    };
    written.unwrap();
}
