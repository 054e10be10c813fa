//! Workflows: graphs as ComfyUI's editor exports them for the API, and beside each what of a job goes
//! where.
//!
//! Two files of a directory make a workflow. Their name is what routes call the model:
//!
//! | file | holds |
//! |---|---|
//! | `name.json` | the graph, from the editor's "Export (API)" or "Save (API Format)" |
//! | `name.toml` | which nodes make the result, and what of a job goes where |
//!
//! ```toml
//! outputs = ["9"]
//!
//! [inputs]
//! "6.inputs.text" = "{prompt}"
//! "5.inputs.width" = "{width}"
//! "5.inputs.height" = "{height}"
//! "5.inputs.batch_size" = "{count}"
//! "3.inputs.seed" = "{seed}"
//! "12.inputs.image" = "{image}"
//! ```
//!
//! The values are templates ([`Inputs`]); where a job does not ask for something, the graph keeps the
//! value that it was exported with. A route's own map adds places or fills them otherwise.
//!
//! Everything is checked when the directory is read, and every mistake is told: ComfyUI ignores inputs
//! that a node does not have, so that a misspelt place would stay unnoticed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Failure, FailureReason, Inputs, Job};
use super::ComfyuiError;

/// The largest file that is read. Graphs have some tens of kilobytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Between the node and the input in the name of a place.
const INPUTS: &str = ".inputs.";

/// A graph with places for what a job asks.
#[derive(Debug)]
pub(super) struct Workflow {
    graph: Map<String, Value>,
    inputs: Inputs,
    outputs: Vec<String>,
}

/// What stands beside a graph.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bindings {
    /// The nodes whose files are the result, in order.
    outputs: Vec<String>,
    /// From places to templates.
    #[serde(default)]
    inputs: Map<String, Value>,
}

/// All workflows of a directory, by name.
///
/// # Errors
/// Every mistake in any of them.
pub(super) fn load(directory: &Path) -> Result<BTreeMap<String, Workflow>, ComfyuiError> {
    let names = names(directory).map_err(|error| ComfyuiError::Directory {
        directory: directory.to_owned(),
        error,
    })?;
    let mut workflows = BTreeMap::new();
    let mut mistakes = Vec::new();
    if names.is_empty() {
        let nothing = "there is no workflow; one is two files, name.json and name.toml";
        mistakes.push(format!("{}: {nothing}", directory.display()));
    }
    for name in names {
        match read(directory, &name) {
            Ok(workflow) => {
                workflows.insert(name, workflow);
            }
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() {
        Ok(workflows)
    } else {
        Err(ComfyuiError::Workflows(mistakes))
    }
}

/// The names of which there is either file.
fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_ours = path
            .extension()
            .is_some_and(|kind| kind == "json" || kind == "toml");
        if let Some(name) = path.file_stem().filter(|_| is_ours) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn read(directory: &Path, name: &str) -> Result<Workflow, Vec<String>> {
    let (graph_file, bindings_file) = (format!("{name}.json"), format!("{name}.toml"));
    let graph = text(&directory.join(&graph_file)).and_then(|text| graph(&text));
    let bindings = text(&directory.join(&bindings_file)).and_then(|text| bindings(&text));
    let about = |file: &str, wrong: Vec<String>| -> Vec<String> {
        let wrong = wrong.into_iter();
        wrong.map(|wrong| format!("{file}: {wrong}")).collect()
    };
    let graph = graph.map_err(|wrong| about(&graph_file, wrong));
    let bindings = bindings.map_err(|wrong| about(&bindings_file, wrong));
    match (graph, bindings) {
        (Ok(graph), Ok(bindings)) => {
            Workflow::new(graph, bindings).map_err(|wrong| about(&bindings_file, wrong))
        }
        (graph, bindings) => {
            let wrong = graph.err().into_iter().chain(bindings.err());
            Err(wrong.flatten().collect())
        }
    }
}

fn text(path: &Path) -> Result<String, Vec<String>> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| vec![error.to_string()])?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(vec![format!("it has more than {FILE_BYTES_MAX} bytes")]);
    }
    Ok(text)
}

fn bindings(text: &str) -> Result<Bindings, Vec<String>> {
    toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])
}

/// A graph in which every node has what the API wants, and is linked to nodes that are there.
fn graph(text: &str) -> Result<Map<String, Value>, Vec<String>> {
    let graph: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![error.to_string()])?;
    if graph.contains_key("nodes") && graph.contains_key("links") {
        let wrong = "this is the editor's own format, which cannot be run; export it again with \
            \"Export (API)\", called \"Save (API Format)\" in older editors";
        return Err(vec![wrong.to_owned()]);
    }
    let mut wrong = Vec::new();
    if graph.is_empty() {
        wrong.push("it has no nodes".to_owned());
    }
    for (id, node) in &graph {
        if !node.get("class_type").is_some_and(Value::is_string) {
            wrong.push(format!("node {id} has no class_type"));
        }
        if !node.get("inputs").is_some_and(Value::is_object) {
            wrong.push(format!("node {id} has no inputs"));
        }
        let lost = links(node).filter(|linked| !graph.contains_key(*linked));
        wrong.extend(
            lost.map(|linked| format!("node {id} is linked to {linked}, which is missing")),
        );
    }
    if wrong.is_empty() {
        Ok(graph)
    } else {
        Err(wrong)
    }
}

/// The nodes that a node takes something from: a link is a list of a node and the number of its output.
fn links(node: &Value) -> impl Iterator<Item = &str> {
    let inputs = node.get("inputs").and_then(Value::as_object);
    let values = inputs.into_iter().flat_map(Map::values);
    values.filter_map(|value| match value.as_array()?.as_slice() {
        [Value::String(node), Value::Number(_)] => Some(node.as_str()),
        _ => None,
    })
}

impl Workflow {
    fn new(graph: Map<String, Value>, bindings: Bindings) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        if bindings.outputs.is_empty() {
            wrong.push("outputs names no node".to_owned());
        }
        let lost = bindings
            .outputs
            .iter()
            .filter(|id| !graph.contains_key(*id));
        wrong.extend(lost.map(|id| format!("outputs: the graph has no node {id}")));
        let places = bindings.inputs.keys();
        wrong.extend(places.filter_map(|place| misplaced(&graph, place)));
        let inputs = Inputs::parse(&bindings.inputs).unwrap_or_else(|mistake| {
            wrong.push(mistake.to_string());
            Inputs::default()
        });
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            graph,
            inputs,
            outputs: bindings.outputs,
        })
    }

    /// The nodes whose files are the result, in order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The nodes that have to run for the result, each once.
    pub fn steps(&self) -> Vec<&str> {
        let mut steps: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let mut at = 0;
        while let Some(node) = steps.get(at).and_then(|id| self.graph.get(*id)) {
            for linked in links(node) {
                if !steps.contains(&linked) {
                    steps.push(linked);
                }
            }
            at += 1;
        }
        steps
    }

    /// The nodes of the graph.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.graph.iter().map(|(id, node)| (id.as_str(), node))
    }

    /// What is wrong with the places that a route names.
    pub fn mistake(&self, job: &Job) -> Option<String> {
        let added = job.inputs.iter().flat_map(|inputs| inputs.fields());
        let mut places = added.chain(job.fixed.keys().map(String::as_str));
        places.find_map(|place| misplaced(&self.graph, place))
    }

    /// Whether the value at a place comes from the job.
    pub fn is_asked(&self, job: &Job, node: &str, input: &str) -> bool {
        let place = format!("{node}{INPUTS}{input}");
        let by_route = job.inputs.as_ref().is_some_and(|route| route.has(&place));
        by_route || self.is_open(node, input)
    }

    /// Whether a place of the workflow itself is filled from jobs.
    pub fn is_open(&self, node: &str, input: &str) -> bool {
        self.inputs.has(&format!("{node}{INPUTS}{input}"))
    }

    /// The graph of a job whose reference pictures have these names at the server.
    ///
    /// # Errors
    /// What the workflow cannot do.
    pub fn fill(&self, job: &Job, pictures: &[String]) -> Result<Map<String, Value>, Failure> {
        let inputs = match job.inputs.as_deref() {
            Some(route) => self.inputs.overlaid(route),
            None => self.inputs.clone(),
        };
        let asked = job.input_as(&inputs, pictures)?;
        let is_used = |picture: &String| asked.values().any(|value| mentions(value, picture));
        if !pictures.iter().all(is_used) {
            let message = format!(
                "{} cannot be asked for anything with so many pictures",
                job.upstream_model
            );
            return Err(Failure::new(FailureReason::InvalidInput, message));
        }
        let mut graph = self.graph.clone();
        for (place, value) in asked {
            if let Some(input) = at(&mut graph, &place) {
                *input = literal(value);
            }
        }
        Ok(graph)
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(whole) => whole.contains(text),
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value that is no link: a list would be taken for one.
fn literal(value: Value) -> Value {
    match value {
        Value::Array(_) => json!({ "__value__": value }),
        value => value,
    }
}

/// What stands at a place.
fn at<'a>(graph: &'a mut Map<String, Value>, place: &str) -> Option<&'a mut Value> {
    let (node, input) = place.split_once(INPUTS)?;
    graph.get_mut(node)?.get_mut("inputs")?.get_mut(input)
}

/// Why a place is none of the graph's.
fn misplaced(graph: &Map<String, Value>, place: &str) -> Option<String> {
    let Some((node, input)) = place.split_once(INPUTS) else {
        let wanted = "is no place in a graph; one is like \"6.inputs.text\", with its quotes";
        return Some(format!("{place} {wanted}"));
    };
    let Some(node_found) = graph.get(node) else {
        return Some(format!("{place}: the graph has no node {node}"));
    };
    let inputs = node_found.get("inputs").and_then(Value::as_object)?;
    if inputs.contains_key(input) {
        return None;
    }
    let known: Vec<_> = inputs.keys().map(String::as_str).collect();
    Some(format!(
        "{place}: node {node} has no input {input}, but {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::super::super::Operation;
    use super::super::super::job::tests::job;
    use super::*;

    const GRAPH: &str = r#"{
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "width": 64, "height": 64, "note": "old"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    }"#;
    const BINDINGS: &str = r#"
        outputs = ["3"]
        [inputs]
        "1.inputs.image" = "{image}"
        "2.inputs.width" = "{width}"
        "2.inputs.note" = "{negative_prompt}"
    "#;

    fn workflow(graph_text: &str, bindings_text: &str) -> Result<Workflow, Vec<String>> {
        let graph = graph(graph_text)?;
        Workflow::new(graph, bindings(bindings_text)?)
    }

    fn sound() -> Workflow {
        workflow(GRAPH, BINDINGS).expect("is sound")
    }

    fn edit() -> Job {
        let mut job = job();
        job.operation = Operation::Edit;
        job
    }

    #[test]
    fn what_is_asked_goes_to_its_place_and_the_rest_stays() {
        let graph = sound()
            .fill(&edit(), &["a.png".to_owned()])
            .expect("can be asked");
        assert_eq!(graph["1"]["inputs"]["image"], "a.png");
        let scaled = json!({"image": ["1", 0], "width": 1024, "height": 64, "note": "old"});
        assert_eq!(graph["2"]["inputs"], scaled);
    }

    #[test]
    fn a_route_adds_places_and_fills_others_otherwise() {
        let mut job = edit();
        let map = json!({"2.inputs.height": "{height}", "2.inputs.width": 7, "2.inputs.note": ["a", "b"]});
        let inputs = Inputs::parse(map.as_object().expect("is a table")).expect("is sound");
        job.inputs = Some(Arc::new(inputs));
        job.fixed
            .insert("2.inputs.image".to_owned(), "9".to_owned());
        let workflow = sound();
        assert_eq!(workflow.mistake(&job), None);
        let graph = workflow
            .fill(&job, &["a".to_owned()])
            .expect("can be asked");
        let scaled =
            json!({"image": "9", "width": 7, "height": 1024, "note": {"__value__": ["a", "b"]}});
        assert_eq!(graph["2"]["inputs"], scaled);
        job.fixed
            .insert("2.inputs.hight".to_owned(), "9".to_owned());
        let mistake = workflow.mistake(&job).expect("is misspelt");
        assert!(mistake.starts_with("2.inputs.hight: node 2 has no input hight, but image, width"));
    }

    #[test]
    fn more_pictures_than_places_are_refused() {
        let pictures = ["a.png".to_owned(), "b.png".to_owned()];
        let refused = sound().fill(&edit(), &pictures).expect_err("one is left");
        assert_eq!(refused.reason, FailureReason::InvalidInput);
    }

    #[test]
    fn only_what_the_result_rests_on_counts_as_a_step() {
        let workflow = sound();
        let steps: BTreeSet<_> = workflow.steps().into_iter().collect();
        assert_eq!(steps, BTreeSet::from(["1", "2", "3"]));
    }

    #[test]
    fn every_mistake_is_told() {
        let wrong = |graph, bindings| workflow(graph, bindings).expect_err("is wrong");
        let editors = r#"{"nodes": [], "links": [], "version": 0.4}"#;
        assert!(wrong(editors, BINDINGS)[0].contains("Export (API)"));
        let broken = r#"{"1": {"inputs": {"a": ["7", 0]}}, "2": {"class_type": "A"}}"#;
        assert_eq!(
            wrong(broken, BINDINGS),
            [
                "node 1 has no class_type",
                "node 1 is linked to 7, which is missing",
                "node 2 has no inputs"
            ]
        );
        let bindings = r#"
            outputs = ["5"]
            [inputs]
            "2.inputs.widht" = "{width}"
            "7.inputs.width" = "{width}"
            "2.width" = 3
            "2.inputs.width" = "{breadth}"
        "#;
        let wrong_bindings = wrong(GRAPH, bindings);
        assert_eq!(wrong_bindings.len(), 5, "{wrong_bindings:?}");
        assert!(wrong(GRAPH, "outputs = []\nmore = 1")[0].contains("unknown field"));
    }

    #[test]
    fn a_directory_says_which_file_is_wrong() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let write = |file: &str, text: &str| {
            fs::write(directory.path().join(file), text).expect("can be written");
        };
        let load = || load(directory.path());
        assert!(
            load()
                .expect_err("is empty")
                .to_string()
                .contains("no workflow")
        );
        write("good.json", GRAPH);
        write("good.toml", BINDINGS);
        write("notes.md", "not read");
        assert_eq!(
            load().expect("is sound").keys().collect::<Vec<_>>(),
            ["good"]
        );
        write("lonely.toml", BINDINGS);
        write("broken.json", "{");
        let told = load().expect_err("two are wrong").to_string();
        for file in ["lonely.json: ", "broken.json: ", "broken.toml: "] {
            assert!(told.contains(file), "{told}");
        }
    }
}
