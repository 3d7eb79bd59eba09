//! The sink that writes NDJSON.
