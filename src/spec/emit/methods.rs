//! Methods: the table that REST, MCP and the gate read, and the function that registers handlers.

use std::fmt::Write as _;

use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use super::messages::{rust_path, snake};
use super::schema::{self, Nested, Way};
use super::{Spec, Wrong, options};

/// The code of `register` and what it needs.
///
/// # Errors
/// What is wrong with a method: no comment, no access rule, a binding that cannot be.
pub fn register(spec: &Spec) -> Result<String, Wrong> {
    let mut code = String::new();
    let mut bounds = Vec::new();
    let mut steps = String::new();
    let mut infos = String::new();
    let mut count = 0;
    for service in spec.services() {
        options::service_comment(&service)?;
        bounds.push(service_trait(&service));
        let _ = writeln!(
            steps,
            "    registry.grpc().add_service({module}::{name}Server::from_arc(service.clone())\
             .max_decoding_message_size(message_bytes_max));",
            module = server_module(&service),
            name = service.name(),
        );
        for method in service.methods() {
            infos.push_str(&info(spec, &method)?);
            steps.push_str(&step(spec, &method, count)?);
            count += 1;
        }
        code.push_str(&checked(spec, &service)?);
    }
    let package = &spec.package;
    let _ = write!(
        code,
        "\n/// What the spec says of each method of `{package}`.\n\
         pub static METHODS: [::piooy::spec::method::MethodInfo; {count}] = [\n{infos}];\n\n\
         /// Registers one implementation of every service of `{package}`.\n\
         pub fn register<S: {bounds}>(service: S, registry: &mut ::piooy::spec::method::Registry) {{\n    \
         let message_bytes_max = registry.message_bytes_max;\n    \
         let service = ::std::sync::Arc::new(::piooy::spec::method::Checked(service));\n{steps}}}\n",
        bounds = bounds.join(" + "),
    );
    Ok(code)
}

fn server_module(service: &ServiceDescriptor) -> String {
    format!("{}_server", snake(service.name()))
}

fn service_trait(service: &ServiceDescriptor) -> String {
    format!("{}::{}", server_module(service), service.name())
}

/// One row of the method table.
fn info(spec: &Spec, method: &MethodDescriptor) -> Result<String, Wrong> {
    let access = options::access(method)?;
    let comment = options::method_comment(method)?;
    let http = match options::http(method)? {
        None => "None".to_owned(),
        Some(http) => format!(
            "Some(::piooy::spec::method::HttpBinding {{ verb: {:?}, path: {:?}, body: {} }})",
            http.verb, http.path, http.body
        ),
    };
    let tool = match options::tool(method)? {
        None => "None".to_owned(),
        Some(_) if method.is_server_streaming() => {
            return Err(format!("{}: a stream cannot be a tool", method.full_name()));
        }
        Some(tool) => {
            let input = schema::of_message(spec, &method.input(), Way::In, Nested::Inline)?;
            let output = schema::of_envelope(spec, &method.output())?;
            let view = tool.view;
            let [read_only, destructive, idempotent, open_world] = tool.hints;
            format!(
                "Some(::piooy::spec::method::ToolInfo {{ name: {:?}, title: {:?}, description: {comment:?}, \
                 input_schema: {:?}, output_schema: {:?}, read_only: {read_only}, destructive: {destructive}, \
                 idempotent: {idempotent}, open_world: {open_world}, view: {view:?} }})",
                tool.name,
                tool.title,
                input.to_string(),
                output.to_string(),
            )
        }
    };
    Ok(format!(
        "    ::piooy::spec::method::MethodInfo {{ name: {:?}, grpc_path: \"/{}/{}\", scope: {:?}, \
         budget: ::piooy::spec::method::Budget::{}, http: {http}, tool: {tool} }},\n",
        method.name(),
        method.parent_service().full_name(),
        method.name(),
        access.scope,
        access.budget,
    ))
}

/// The statement that registers one method.
fn step(spec: &Spec, method: &MethodDescriptor, index: usize) -> Result<String, Wrong> {
    if method.is_client_streaming() {
        return Err(format!(
            "{}: streams of requests are not supported",
            method.full_name()
        ));
    }
    let kind = if options::produces(method)?.is_some() {
        "file"
    } else if method.is_server_streaming() {
        "streaming"
    } else {
        "unary"
    };
    let input = rust_path(spec, method.input().full_name());
    Ok(format!(
        "    {{ let service = service.clone();\n      \
         registry.{kind}(&METHODS[{index}], move |request: ::tonic::Request<{input}>| {{\n          \
         let service = service.clone();\n          \
         async move {{\n{call}          }}\n      }}); }}\n",
        call = guarded(method, "service.0"),
    ))
}

/// The statements that check the limits of `request` and then call the handler on `service`.
fn guarded(method: &MethodDescriptor, service: &str) -> String {
    format!(
        "        ::piooy::spec::method::check(&request)?;\n        \
         ::piooy::spec::method::run({path}::{name}(&{service}, request)).await\n",
        path = service_trait(method.parent_service()),
        name = snake(method.name()),
    )
}

/// The service trait for `Checked<S>`: check the limits, then call the handler.
fn checked(spec: &Spec, service: &ServiceDescriptor) -> Result<String, Wrong> {
    let path = service_trait(service);
    let mut body = String::new();
    for method in service.methods() {
        let input = rust_path(spec, method.input().full_name());
        let output = if method.is_server_streaming() {
            let _ = writeln!(body, "    type {0}Stream = S::{0}Stream;", method.name());
            format!("Self::{}Stream", method.name())
        } else {
            rust_path(spec, method.output().full_name())
        };
        let _ = writeln!(
            body,
            "    async fn {name}(&self, request: ::tonic::Request<{input}>) \
             -> ::core::result::Result<::tonic::Response<{output}>, ::tonic::Status> {{\n{call}    }}",
            name = snake(method.name()),
            call = guarded(&method, "self.0"),
        );
    }
    Ok(format!(
        "\n#[::tonic::async_trait]\nimpl<S: {path}> {path} for ::piooy::spec::method::Checked<S> {{\n{body}}}\n"
    ))
}
