//! Reads the `routes` of an entry: which upstreams serve it, and under which ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Value;

use super::reader::Reader;
use crate::catalog::model::{Model, Route};
use crate::catalog::size::Resolution;
use crate::providers::{InputMistake, Inputs, Operation};

/// The fields that hold an id for one operation. The plain one, `model`, every route must have.
const OPERATIONS: [(&str, Operation); 4] = [
    ("edit", Operation::Edit),
    ("image_to_video", Operation::ImageToVideo),
    ("first_last_frame", Operation::FirstLastFrame),
    ("reference_to_video", Operation::ReferenceToVideo),
];

/// The maps of a file by which its routes may name them.
pub(super) type Maps = BTreeMap<String, Arc<Inputs>>;

pub(super) fn read(
    reader: &mut Reader<'_>,
    maps: &Maps,
    resolutions: Option<&[Resolution]>,
) -> Option<Vec<Route>> {
    let tables = reader.tables("routes")?;
    if tables.is_empty() {
        reader.wrong("routes", "must name at least one");
        return None;
    }
    let mut routes = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut reader = reader.within(&format!("routes.{}", index + 1), table);
        routes.push(route(&mut reader, maps, resolutions));
    }
    routes.into_iter().collect()
}

fn route(reader: &mut Reader<'_>, maps: &Maps, listed: Option<&[Resolution]>) -> Option<Route> {
    let provider = reader.text("provider");
    let model = reader.text("model");
    let one_id = reader.flag("one_id");
    let mut operations = Some(Vec::new());
    for (field, operation) in OPERATIONS {
        let id = reader.optional(field, "the upstream's id for it", |value| {
            value.as_str().map(str::to_owned)
        });
        operations = operations.zip(id).map(|(mut operations, id)| {
            operations.extend(id.map(|id| (operation, id)));
            operations
        });
    }
    let resolutions = reader.texts("resolutions");
    let fixed = reader.text_map("fixed");
    let inputs = inputs(reader, maps);
    reader.finish();
    if let (Some(named), Some(listed)) = (&resolutions, listed) {
        for name in named {
            if !listed.iter().any(|listed| listed.as_str() == name) {
                reader.wrong(
                    "resolutions",
                    format!("\"{name}\" is none of the model's resolutions"),
                );
            }
        }
    }
    Some(Route {
        provider: provider?,
        model: model?,
        one_id: one_id?,
        operations: operations?,
        resolutions: resolutions?,
        inputs: inputs?,
        fixed: fixed?,
    })
}

/// How the upstream is told what is asked: the name of one of the file's maps, or a map.
#[expect(
    clippy::option_option,
    reason = "absent, mistaken and present are three answers"
)]
fn inputs(reader: &mut Reader<'_>, maps: &Maps) -> Option<Option<Arc<Inputs>>> {
    let must_be = "the name of an [inputs.…] table of the file, or a table";
    let Some(value) = reader.optional("inputs", must_be, Some)? else {
        return Some(None);
    };
    let read = match value {
        Value::String(name) => maps.get(&name).cloned().ok_or_else(|| {
            let known: Vec<_> = maps.keys().map(String::as_str).collect();
            format!(
                "there is no [inputs.{name}]; there are {}",
                known.join(", ")
            )
        }),
        Value::Table(table) => parse(table)
            .map(Arc::new)
            .map_err(|error| error.to_string()),
        _ => Err(format!("must be {must_be}")),
    };
    match read {
        Ok(inputs) => Some(Some(inputs)),
        Err(message) => {
            reader.wrong("inputs", message);
            None
        }
    }
}

/// Reads a map.
pub(super) fn parse(table: toml::Table) -> Result<Inputs, InputMistake> {
    let json = serde_json::to_value(table).map_err(|error| InputMistake {
        field: "inputs".to_owned(),
        message: error.to_string(),
    })?;
    let map = json.as_object().expect("a table becomes an object");
    Inputs::parse(map)
}

/// Notes what the model is said to do, but no route can be asked for.
pub(super) fn check_reach(reader: &mut Reader<'_>, model: &Model) {
    for resolution in &model.resolutions {
        if model
            .routes_for(Operation::Text, resolution.as_str())
            .next()
            .is_none()
        {
            reader.wrong("routes", format!("none makes {resolution}"));
        }
    }
    let offered = |operation| {
        let mut routes = model.routes.iter();
        routes.any(|route| route.operation_id(operation).is_some())
    };
    let reachable: Vec<Operation> = (1..=model.input_images_max())
        .filter_map(|images| model.operation_for(usize::try_from(images).ok()?))
        .collect();
    for (field, operation) in OPERATIONS {
        if reachable.contains(&operation) && !offered(operation) {
            reader.wrong(
                "routes",
                format!("none has an id for {field}, which the model is said to do"),
            );
        }
    }
}
