//! Custom resources as server-side apply merges them: their schema, with the metadata that every object has.

use knarr_apply::{
    Deduced,
    schema::{self as apply, Atom, Field},
};

use super::strategy::CustomResource;
use crate::schema::definition;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl apply::Schema for CustomResource {
    fn atom(&self) -> Atom {
        self.root.atom()
    }

    fn element(&self) -> &dyn apply::Schema {
        apply::Schema::element(&self.root)
    }

    fn key(&self, index: usize) -> Option<&str> {
        self.root.key(index)
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let schema = match name {
            "metadata" => definition(METADATA)?,
            name => return apply::Schema::field(&self.root, name),
        };
        Some(Field {
            schema,
            default: None,
            absent: None,
        })
    }

    fn undeclared(&self) -> Option<&dyn apply::Schema> {
        match self.preserves {
            true => Some(&Deduced),
            false => self.root.undeclared(),
        }
    }
}
