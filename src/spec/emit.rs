//! Makes everything that is derived from the protos.
//!
//! The build script borrows this module by path; the crate itself has it in tests only. The steps:
//!
//! | step | makes |
//! |---|---|
//! | [`compile`] | descriptors, with `protox`: no `protoc` is needed |
//! | [`messages`] | prost messages with serde attributes, enum names, validators; tonic servers and clients |
//! | [`methods`] | the `register` function: method table, MCP tools, checked services |
//! | [`schema`] | JSON Schema 2020-12 of a message |
//! | [`openapi`] | the OpenAPI 3.1 document |
//!
//! A spec that cannot be kept is refused here, when the crate is built: a method without a comment
//! or an access rule, a field without a comment, a rule that nothing enforces, a path parameter
//! without a field.

use std::fs;
use std::path::Path;

use prost_reflect::{DescriptorPool, MessageDescriptor, ServiceDescriptor};

// Paths are written out because a file that is borrowed by path looks for its modules beside itself.
#[path = "emit/messages.rs"]
pub mod messages;
#[path = "emit/methods.rs"]
pub mod methods;
#[path = "emit/openapi.rs"]
pub mod openapi;
#[path = "emit/options.rs"]
pub mod options;
#[path = "emit/schema.rs"]
pub mod schema;
#[cfg(test)]
#[path = "emit/tests.rs"]
mod tests;

/// What can be wrong with a spec, in words.
pub type Wrong = String;

/// One proto package, compiled.
pub struct Spec {
    /// The package, such as `piooy.v1`.
    pub package: String,
    /// The Rust path at which the generated file is included, such as `::piooy::spec::v1`.
    pub root: String,
    /// The descriptors, with the options as extensions.
    pub pool: DescriptorPool,
    files: prost_types::FileDescriptorSet,
    descriptors: Vec<u8>,
}

/// Compiles the proto files of one package.
///
/// # Errors
/// The compiler's message, or the name of a file of another package.
pub fn compile(
    package: &str,
    root: &str,
    includes: &[&Path],
    files: &[&Path],
) -> Result<Spec, Wrong> {
    let with_comments = open(includes, files, true)?;
    Ok(Spec {
        package: package.to_owned(),
        root: root.to_owned(),
        pool: with_comments.descriptor_pool(),
        files: with_comments.file_descriptor_set(),
        // Comments and places are most of the size, and reflection does not need them.
        descriptors: open(includes, files, false)?.encode_file_descriptor_set(),
    })
}

fn open(includes: &[&Path], files: &[&Path], comments: bool) -> Result<protox::Compiler, Wrong> {
    let mut compiler = protox::Compiler::new(includes).map_err(|error| error.to_string())?;
    compiler.include_imports(true).include_source_info(comments);
    compiler
        .open_files(files)
        .map_err(|error| format!("{error:?}"))?;
    Ok(compiler)
}

impl Spec {
    /// The services of the package, in the order of their files.
    pub fn services(&self) -> impl Iterator<Item = ServiceDescriptor> + '_ {
        self.pool
            .services()
            .filter(|service| service.package_name() == self.package)
    }

    /// The messages of the package that addresses of callers are sent, by name.
    fn webhooks(&self) -> impl Iterator<Item = (String, MessageDescriptor)> + '_ {
        self.pool
            .all_messages()
            .filter(|message| message.package_name() == self.package)
            .filter_map(|message| Some((options::webhook(&message)?, message)))
    }

    /// Writes everything into `out`: `{package}.rs`, `descriptors.bin` and `openapi.json`.
    ///
    /// # Errors
    /// What is wrong with the spec, or why a file could not be written.
    pub fn write(&self, out: &Path) -> Result<(), Wrong> {
        fs::create_dir_all(out).map_err(|error| error.to_string())?;
        messages::write(self, out)?;
        let file = out.join(format!("{}.rs", self.package));
        let mut code =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        code.push_str(&messages::companions(self)?);
        code.push_str(&methods::register(self)?);
        write(&file, code.as_bytes())?;
        write(&out.join("descriptors.bin"), &self.descriptors)?;
        write(
            &out.join("openapi.json"),
            openapi::document(self)?.as_bytes(),
        )
    }

    /// The files that code is made of: those of the package, and the well-known types that its
    /// fields have. The options are not code.
    fn own_files(&self) -> prost_types::FileDescriptorSet {
        let made = [self.package.as_str(), "google.protobuf"];
        let own = self
            .files
            .file
            .iter()
            .filter(|file| made.contains(&file.package()));
        prost_types::FileDescriptorSet {
            file: own.cloned().collect(),
        }
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Wrong> {
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}
