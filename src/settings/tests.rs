//! The room as a start of the server sees it.

use super::*;

/// Loads from texts: flags, environment, and the content of `piooy.toml` if there is one.
fn load(
    flags: &[(&str, &str)],
    env: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Settings, SettingsError> {
    let flags = flags
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Tests must not depend on who runs them.
    let env = [("HOME", "/home/a")]
        .iter()
        .chain(env)
        .map(|&(name, value)| (name.into(), value.into()))
        .collect::<Vec<(OsString, OsString)>>();
    Settings::load(flags, env, |path| match file {
        Some(text) if path == Path::new("piooy.toml") => Ok(text.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

fn report(flags: &[(&str, &str)], env: &[(&str, &str)], file: Option<&str>) -> String {
    load(flags, env, file)
        .expect_err("settings with mistakes")
        .to_string()
}

#[test]
fn without_a_word_there_are_defaults() {
    let settings = load(&[], &[], None).expect("defaults");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.public_url, "http://127.0.0.1:8080");
    assert_eq!(settings.database_url, None);
    assert_eq!(settings.database_connections, 16);
    assert_eq!(settings.sandbox_for_live, SandboxForLive::Auto);
    assert_eq!(settings.jwt, None);
    assert!(!settings.trusted_proxy);
    assert!(!settings.egress_private);
    assert_eq!(settings.body_bytes_max, 24 << 20);
    assert_eq!(settings.lease, Duration::from_secs(15));
    assert_eq!(settings.task_deadline, Duration::from_secs(3600));
    assert_eq!(settings.log, "info");
    assert_eq!(settings.allowed_hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert_eq!(
        settings.allowed_origins,
        [
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080"
        ]
    );
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = "log = \"error\"\nlisten = \"127.0.0.1:3\"\ndatabase_connections = 3";
    let env = [("PIOOY_LOG", "warn"), ("PIOOY_LISTEN", "127.0.0.1:2")];
    let settings = load(&[("log", "debug")], &env, Some(file)).expect("settings");
    assert_eq!(settings.log, "debug");
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.database_connections, 3);
}

#[test]
fn every_setting_can_be_set() {
    let file = r#"
        listen = "0.0.0.0:80"
        public_url = "https://Piooy.example/"
        data_dir = "/srv/piooy"
        database_url = "postgres://u:p@db/piooy"
        database_connections = 40
        catalog = "models.toml"
        sandbox_live = true
        jwt_jwks = "https://id.example/jwks"
        jwt_issuer = "https://id.example"
        jwt_audience = "piooy"
        trust_forwarded = true
        allowed_hosts = ["piooy.example", "other.example"]
        allowed_origins = ["https://page.example"]
        egress_private = true
        body_max = "1MiB"
        lease_seconds = 30
        task_deadline = "2h"
        log = "info,piooy=debug"
    "#;
    let settings = load(&[], &[], Some(file)).expect("settings");
    let database_url = settings.database_url.as_ref().map(Secret::expose);
    assert_eq!(settings.listen.to_string(), "0.0.0.0:80");
    assert_eq!(settings.public_url, "https://piooy.example");
    assert_eq!(settings.data_dir, Path::new("/srv/piooy"));
    assert_eq!(database_url, Some("postgres://u:p@db/piooy"));
    assert_eq!(settings.database_connections, 40);
    assert_eq!(settings.catalog_file, Some("models.toml".into()));
    assert_eq!(settings.sandbox_for_live, SandboxForLive::Yes);
    assert_eq!(
        settings.jwt,
        Some(Jwt {
            jwks: JwksSource::Url("https://id.example/jwks".to_owned()),
            issuer: "https://id.example".to_owned(),
            audience: "piooy".to_owned(),
        })
    );
    assert!(settings.trusted_proxy);
    assert!(settings.egress_private);
    assert_eq!(settings.allowed_hosts, ["piooy.example", "other.example"]);
    assert_eq!(settings.allowed_origins, ["https://page.example"]);
    assert_eq!(settings.body_bytes_max, 1 << 20);
    assert_eq!(settings.lease, Duration::from_secs(30));
    assert_eq!(settings.task_deadline, Duration::from_secs(7200));
    assert_eq!(settings.log, "info,piooy=debug");
}

#[test]
fn what_follows_from_the_address_follows_it() {
    let env = [("PIOOY_LISTEN", "0.0.0.0:80")];
    let settings = load(&[], &env, None).expect("settings");
    assert_eq!(settings.public_url, "http://127.0.0.1");
    assert_eq!(settings.allowed_origins[0], "http://localhost");

    let env = [("PIOOY_PUBLIC_URL", "https://piooy.example/")];
    let settings = load(&[], &env, None).expect("settings");
    assert_eq!(settings.allowed_hosts[3], "piooy.example");
    assert_eq!(settings.allowed_origins[3], "https://piooy.example");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let told = report(
        &[("log", "piooy=loudly")],
        &[
            ("PIOOY_LISTEN", "localhost"),
            ("PIOOY_LISTN", "127.0.0.1:1"),
            ("PIOOY_CONFG", "a.toml"),
            ("PIOOY_JWT_ISSUER", "https://id.example"),
            ("DATABASE_URL", "mysql://root:hunter2@db/piooy"),
        ],
        Some("body_maximum = 1\nlease_seconds = 1.5\nallowed_hosts = [1]"),
    );
    let expected = [
        "PIOOY_CONFG in the environment is no setting; the nearest is PIOOY_CONFIG",
        "PIOOY_LISTN in the environment is no setting; the nearest is PIOOY_LISTEN",
        "body_maximum in piooy.toml is no setting; the nearest is body_max",
        "PIOOY_LISTEN in the environment is \"localhost\"; \
         allowed: an IP address and a port, such as 0.0.0.0:8080",
        "DATABASE_URL in the environment is a secret of another form; \
         allowed: postgres://user:password@host/database, or libpq's keyword=value pairs",
        "jwt_jwks is not set anywhere; \
         allowed: jwt_jwks, jwt_issuer and jwt_audience all together, or none of them",
        "jwt_audience is not set anywhere; \
         allowed: jwt_jwks, jwt_issuer and jwt_audience all together, or none of them",
        "allowed_hosts in piooy.toml is a list of other things than texts; \
         allowed: host names without ports, with commas between",
        "lease_seconds in piooy.toml is a float; \
         allowed: a whole number of seconds from 3 to 600",
        "--log on the command line is \"piooy=loudly\"; \
         allowed: error, warn, info, debug, trace, or directives such as info,piooy=debug",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_long_value_is_told_by_its_start() {
    let told = report(&[], &[("PIOOY_LISTEN", &"x".repeat(10_000))], None);
    assert!(told.contains("xxx\"…;") && told.len() < 300, "{told}");
}

#[test]
fn secrets_are_not_shown() {
    let env = [("DATABASE_URL", "postgres://u:hunter2@db/piooy")];
    let settings = load(&[], &env, None).expect("settings");
    assert!(!format!("{settings:?}").contains("hunter2"));

    let broken = "listen = \"127.0.0.1:1\"\ndatabase_url = \"postgres://u:hunter2@db";
    let told = report(&[], &[], Some(broken));
    assert!(
        told.starts_with("piooy.toml cannot be used as a file of settings: line 2: "),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let told = report(&[("config", "other.toml")], &[], None);
    assert!(
        told.starts_with("other.toml cannot be used as a file of settings: "),
        "{told}"
    );
}

#[test]
fn a_file_cannot_name_another() {
    let told = report(&[], &[], Some("config = \"other.toml\""));
    assert!(
        told.starts_with("config in piooy.toml is no setting; "),
        "{told}"
    );
}

#[test]
fn a_variable_set_to_nothing_is_not_set() {
    let settings = load(&[], &[("PIOOY_LISTEN", ""), ("DATABASE_URL", "")], None);
    let settings = settings.expect("settings");
    assert_eq!(settings.listen.port(), 8080);
    assert_eq!(settings.database_url, None);
}

#[cfg(unix)]
#[test]
fn text_that_is_not_utf_8_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;

    let env = [(
        OsString::from("PIOOY_DATA_DIR"),
        OsString::from_vec(vec![b'/', 0xff]),
    )];
    let error = Settings::load(
        BTreeMap::new(),
        env,
        |_| Err(io::ErrorKind::NotFound.into()),
    )
    .expect_err("a mistake");
    assert_eq!(
        error.to_string(),
        "PIOOY_DATA_DIR in the environment is not UTF-8; allowed: the path of a directory"
    );
}

#[test]
fn the_table_names_each_setting_once_and_alike() {
    for (index, entry) in TABLE.iter().enumerate() {
        let twin = |other: &&&Entry| other.name == entry.name || other.env == entry.env;
        assert_eq!(TABLE.iter().filter(twin).count(), 1, "{}", entry.name);
        let own = format!("PIOOY_{}", entry.name.to_uppercase());
        assert!(
            entry.env == own || entry.env == entry.name.to_uppercase(),
            "row {index}: {}",
            entry.env
        );
    }
}

#[test]
fn upstreams_are_set_up_by_one_variable_or_in_the_file() {
    let file = r#"
        [upstreams.fal]
        jobs = 4
        [upstreams.studio]
        dialect = "openai"
        url = "http://10.0.0.7:8000/v1"
    "#;
    let env = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let read = |file: &str, variables: &[(OsString, OsString)]| {
        let home = [env("HOME", "/home/me")];
        let variables = variables.iter().cloned().chain(home);
        Settings::load(BTreeMap::new(), variables, |_| Ok(file.to_owned()))
    };
    let names = |settings: &Settings| -> Vec<_> {
        settings
            .upstreams
            .iter()
            .map(|one| one.name.clone())
            .collect()
    };
    assert_eq!(names(&read("", &[]).expect("is sound")), [] as [&str; 0]);
    let set = [
        env("FAL_KEY", "a-key"),
        env("PIOOY_SDCPP_URL", "http://127.0.0.1:1234/v1"),
    ];
    let settings = read(file, &set).expect("is sound");
    assert_eq!(names(&settings), ["fal", "sdcpp", "studio"]);
    let fal = &settings.upstreams[0];
    assert_eq!(
        (fal.jobs, fal.url.as_str()),
        (Some(4), "https://queue.fal.run/")
    );
    assert!(
        !format!("{settings:?}").contains("a-key"),
        "keys are not shown"
    );
    assert!(!fal.is_elsewhere && settings.upstreams[1].is_elsewhere);

    let wrong = |file: &str, variables: &[(OsString, OsString)]| {
        read(file, variables).expect_err("a mistake").to_string()
    };
    let told = wrong("[upstreams.studio]\nurl = \"http://a.b\"", &[]);
    assert!(told.contains("upstreams.studio.dialect"), "{told}");
    let told = wrong("[upstreams.fal]\nspeed = 1", &[]);
    assert!(told.contains("upstreams.fal.speed"), "{told}");
    let told = wrong("", &[env("PIOOY_FAL_JOBS", "many"), env("FAL_KEY", "k")]);
    assert!(
        told.contains("PIOOY_FAL_JOBS") && told.contains("whole number"),
        "{told}"
    );
    let told = wrong("", &[env("PIOOY_FAIL_URL", "http://a.b")]);
    assert!(told.contains("PIOOY_FAIL_URL"), "{told}");
}

#[test]
fn the_table_is_written_for_people() {
    let markdown = Settings::table_markdown();
    let help = Settings::help();
    for line in markdown.lines() {
        assert_eq!(line.matches('|').count(), 6, "{line}");
    }
    for entry in TABLE {
        assert!(markdown.contains(&format!("| `{}` |", entry.env)));
        assert!(help.contains(entry.env));
    }
    assert!(markdown.contains(
        "| `PIOOY_LISTEN` | `listen` | `--listen` | `127.0.0.1:8080` | \
         Where all faces are served. Allowed: an IP address and a port, such as 0.0.0.0:8080. |"
    ));
    assert!(markdown.contains("| `DATABASE_URL` | `database_url` | – |"));
    assert!(markdown.contains("| `PIOOY_CONFIG` | – | `--config` |"));
    assert!(help.contains("  --listen, PIOOY_LISTEN\n      Where all faces are served.\n"));
}
