//! The published schema of an event's detail.

use boon::{Compiler, SchemaIndex, Schemas};

/// It, compiled.
pub(crate) struct EventSchema {
    schemas: Schemas,
    event_detail: SchemaIndex,
}

impl EventSchema {
    /// As it lies in the packages.
    pub(crate) fn published() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/packaging/event-detail.schema.json"
        );
        let mut schemas = Schemas::new();
        let event_detail = Compiler::new()
            .compile(path, &mut schemas)
            .expect("the published schema is one");
        Self {
            schemas,
            event_detail,
        }
    }

    /// What it finds wrong in the detail of an event.
    pub(crate) fn complaint(&self, detail: &serde_json::Value) -> Option<String> {
        let checked = self.schemas.validate(detail, self.event_detail);
        checked.err().map(|error| format!("{error:#}"))
    }
}
