//! A bundle: this program and a manifest in one file that desktop clients install with a click (MCPB,
//! manifest version 0.3). The client asks the person for the address and the key, keeps the key where
//! it keeps secrets, and starts `piooy mcp` with both in its environment.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::adapters::about;
use crate::cli::Failure;
use crate::cli::client::{KEY_VARIABLE, URL_VARIABLE};
use crate::spec;

/// Where the program is in the bundle.
const PROGRAM: &str = "server/piooy";

/// Where the icon is in the bundle.
const ICON: &str = "icon.png";

/// 512 pixels a side, as the manifest wants it.
const ICON_PNG: &[u8] = include_bytes!("../../adapters/web/icon.png");

/// Writes a bundle of the running program, in one piece or not at all.
///
/// # Errors
/// What cannot be read or written.
pub fn write(file: &Path, server: &str) -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    let mut program = File::open(&program)
        .map_err(|error| format!("cannot read {}: {error}", program.display()))?;
    let unfinished = file.with_extension("part");
    let mut write = || -> Result<(), Failure> {
        pack(File::create(&unfinished)?, &mut program, server)?;
        Ok(std::fs::rename(&unfinished, file)?)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&unfinished);
        format!("cannot write {}: {error}", file.display()).into()
    })
}

/// Writes a bundle of `program`.
fn pack(to: impl Write + Seek, program: &mut impl Read, server: &str) -> Result<(), Failure> {
    let mut bundle = ZipWriter::new(to);
    let plain = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(0o644);
    bundle.start_file("manifest.json", plain)?;
    bundle.write_all(serde_json::to_string_pretty(&manifest(server))?.as_bytes())?;
    bundle.start_file(ICON, plain)?;
    bundle.write_all(ICON_PNG)?;
    bundle.start_file(PROGRAM, plain.unix_permissions(0o755))?;
    io::copy(program, &mut bundle)?;
    bundle.finish()?;
    Ok(())
}

fn manifest(server: &str) -> Value {
    let tools = spec::v1::METHODS.iter().filter_map(|method| {
        let tool = method.tool.as_ref()?;
        Some(json!({"name": tool.name, "description": tool.description}))
    });
    let platform = match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    json!({
        "manifest_version": "0.3",
        "name": "piooy",
        "display_name": about::TITLE,
        "version": about::VERSION,
        "description": about::DESCRIPTION,
        "author": {"name": about::TITLE},
        "icon": ICON,
        "server": {
            "type": "binary",
            "entry_point": PROGRAM,
            "mcp_config": {
                "command": format!("${{__dirname}}/{PROGRAM}"),
                "args": ["mcp"],
                "env": {
                    URL_VARIABLE: "${user_config.url}",
                    KEY_VARIABLE: "${user_config.api_key}",
                },
            },
        },
        "tools": tools.collect::<Value>(),
        "keywords": ["image", "video", "generation"],
        "user_config": {
            "url": {
                "type": "string",
                "title": "Server",
                "description": "The address of your Piooy server.",
                "default": server,
                "required": true,
            },
            "api_key": {
                "type": "string",
                "title": "API key",
                "description": "A key of your account: piooy_live_… spends credits, piooy_test_… paints in the sandbox.",
                "sensitive": true,
                "required": true,
            },
        },
        "compatibility": {"platforms": [platform]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::ZipArchive;

    #[test]
    fn a_bundle_holds_the_program_and_says_how_to_start_it() {
        let mut file = Cursor::new(Vec::new());
        let program = b"\x7fELF and so on".repeat(1_000);
        pack(&mut file, &mut program.as_slice(), "https://a.example").expect("it is packed");
        let mut bundle = ZipArchive::new(file).expect("is a zip file");
        let mut read = |name: &str| {
            let mut entry = bundle.by_name(name).expect("is there");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("is whole");
            (content, entry.unix_mode().expect("has a mode") & 0o777)
        };
        assert_eq!(read(PROGRAM), (program, 0o755));
        assert_eq!(read(ICON).0, ICON_PNG);
        let (manifest, _) = read("manifest.json");
        let manifest: Value = serde_json::from_slice(&manifest).expect("is JSON");
        let start = &manifest["server"]["mcp_config"];
        assert_eq!(start["command"], "${__dirname}/server/piooy");
        assert_eq!(start["env"]["PIOOY_API_KEY"], "${user_config.api_key}");
        assert_eq!(
            manifest["user_config"]["url"]["default"],
            "https://a.example"
        );
        assert_eq!(manifest["user_config"]["api_key"]["sensitive"], true);
        assert!(!manifest.to_string().contains("piooy_live_1"));
        assert_eq!(manifest["tools"][0]["name"], "generate_image");
    }

    #[test]
    fn a_bundle_that_cannot_be_written_leaves_nothing() {
        let place = tempfile::tempdir().expect("a directory can be made");
        let file = place.path().join("none/x.mcpb");
        let said = write(&file, "https://a.example").expect_err("no directory");
        assert!(said.to_string().contains("x.mcpb"), "{said}");
        let left = std::fs::read_dir(place.path()).expect("is there").count();
        assert_eq!(left, 0);
    }
}
