//! Documents that the code writes. When one is stale these tests write it anew and fail once, so that the change is seen
//! where it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use piooy::settings::{Settings, upstreams_markdown};
use piooy::spec::OPENAPI;
use piooy::spec::reason::{Fault, Reason};

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Fails, after writing `expected`, when the file says something else.
fn is_fresh(name: &str, found: &str, expected: &str) {
    if found == expected {
        return;
    }
    let path = place(name);
    let folder = path.parent().expect("is in a folder");
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(&path, expected).expect("the file can be written");
    panic!("{name} was stale and has been written anew: look at the difference and commit it");
}

/// The text with `content` between the markers `<!-- name -->` and `<!-- /name -->`.
fn filled(text: &str, name: &str, content: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text
        .split_once(&open)
        .unwrap_or_else(|| panic!("no {open}"));
    let (_, after) = rest
        .split_once(&close)
        .unwrap_or_else(|| panic!("no {close}"));
    format!("{before}{open}{content}{close}{after}")
}

/// The table of everything that can go wrong in a call.
fn reasons() -> String {
    let mut table = String::from(
        "| Reason | gRPC | HTTP | Try again? | Who can mend it | What it means |\n|---|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let row = reason.row();
        let code = format!("{:?}", tonic::Code::from_i32(row.grpc_code));
        let again = if row.retryable { "yes" } else { "no" };
        let mender = match row.fault {
            Fault::Caller => "the caller",
            Fault::Operator => "the operator",
            Fault::Upstream => "the upstream",
        };
        table += &format!(
            "| `{}` | {} {code} | {} | {again} | {mender} | {} |\n",
            row.word,
            row.grpc_code,
            row.http_status,
            row.meaning.trim(),
        );
    }
    table
}

#[test]
fn the_openapi_document_is_the_one_that_is_served() {
    let name = "openapi/openapi.json";
    let found = fs::read_to_string(place(name)).unwrap_or_default();
    is_fresh(name, &found, OPENAPI);
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let name = "README.md";
    let found = fs::read_to_string(place(name)).expect("there is a README");
    let expected = filled(&found, "settings", &Settings::table_markdown());
    let expected = filled(&expected, "reasons", &reasons());
    let expected = filled(&expected, "upstreams", &upstreams_markdown());
    is_fresh(name, &found, &expected);
}
