#![allow(clippy::unwrap_used)]

use super::*;

/// An installation in a directory of its own, on a machine of 4 GiB in Berlin.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(dotenv: &str) -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        std::fs::write(bench.0.path().join(".env"), dotenv).unwrap();
        bench
    }

    fn load(&self, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let machine = Machine {
            cwd: self.0.path().to_owned(),
            user_home: Some("/home/ann".into()),
            zone: Some("Europe/Berlin".into()),
            memory: Some(4 << 30),
        };
        Config::load_on(&machine, None, vars.iter().map(|(n, v)| (n.into(), v.into())))
    }
}

fn load(dotenv: &str, vars: &[(&str, &str)]) -> Config {
    Bench::new(dotenv).load(vars).unwrap()
}

fn refused(dotenv: &str, vars: &[(&str, &str)]) -> String {
    Bench::new(dotenv).load(vars).unwrap_err().to_string()
}

#[test]
fn without_any_setting_the_defaults_of_1x_hold() {
    let bench = Bench::new("");
    let config = bench.load(&[]).unwrap();
    let home = bench.0.path().canonicalize().unwrap();
    assert_eq!((config.assistant_name.as_str(), config.own_number), ("Andy", false));
    assert_eq!(config.timezone, Tz::Europe__Berlin);
    assert_eq!(
        (config.turn_timeout, config.idle_timeout),
        (Duration::from_secs(1800), Duration::from_secs(1800))
    );
    assert_eq!(
        (config.runtime, config.image.as_str()),
        (RuntimeChoice::Auto, "nanoclaw-agent:latest")
    );
    assert_eq!((config.log_level, config.max_containers), (tracing::Level::INFO, 4));
    assert_eq!(
        (&config.credential, config.base_url.as_str()),
        (&None, "https://api.anthropic.com/")
    );
    assert_eq!(config.socket, home.join("data/nanoclaw.sock"));
    assert_eq!(config.config_dir, Path::new("/home/ann/.config/nanoclaw"));
    let cached = format!("/home/ann/.cache/nanoclaw/claude-{}/claude", cli::pinned_version());
    assert_eq!(config.claude, Path::new(&cached));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);

    let family = Folder::parse("family").unwrap();
    assert_eq!(config.ledger(), home.join("store/messages.db"));
    assert_eq!(config.sessions(&family), home.join("data/sessions/family/.claude"));
    assert_eq!(config.ipc(&family, Incarnation(7)), home.join("data/ipc/family/7"));
    assert_eq!((config.groups(), config.logs()), (home.join("groups"), home.join("logs")));
}

#[test]
fn the_environment_goes_before_the_file_and_empty_values_do_not_count() {
    let config = load(
        "ASSISTANT_NAME=Eva\nIDLE_TIMEOUT=5000",
        &[("ASSISTANT_NAME", "Bob"), ("IDLE_TIMEOUT", "")],
    );
    assert_eq!(
        (config.assistant_name.as_str(), config.idle_timeout),
        ("Bob", Duration::from_secs(5))
    );
}

#[test]
fn paths_begin_in_the_installation_or_in_the_users_home() {
    let bench = Bench::new("NANOCLAW_SOCKET=x.sock\nNANOCLAW_CLAUDE=~/bin/claude");
    let config = bench.load(&[("HOME", "/home/bob"), ("XDG_CACHE_HOME", "/cache")]).unwrap();
    assert_eq!(config.socket, bench.0.path().canonicalize().unwrap().join("x.sock"));
    assert_eq!(config.claude, Path::new("/home/bob/bin/claude"));
    assert!(load("", &[("XDG_CACHE_HOME", "/cache")]).claude.starts_with("/cache/nanoclaw"));
    assert!(load("", &[("XDG_CACHE_HOME", "cache")]).claude.starts_with("/home/ann/.cache"));
}

#[test]
fn nanoclaw_home_is_an_existing_directory() {
    let bench = Bench::new("ASSISTANT_NAME=Root");
    std::fs::create_dir(bench.0.path().join("sub")).unwrap();
    let config = bench.load(&[("NANOCLAW_HOME", "sub")]).unwrap();
    assert_eq!(
        (config.home.file_name().unwrap().to_str(), config.assistant_name.as_str()),
        (Some("sub"), "Andy")
    );
    for wrong in ["missing", ".env"] {
        let error = bench.load(&[("NANOCLAW_HOME", wrong)]).unwrap_err().to_string();
        assert!(error.contains(wrong) && error.contains("NANOCLAW_HOME"), "{error}");
    }
    assert!(refused("NANOCLAW_HOME=/tmp", &[]).contains("set it in the environment"));
}

#[test]
fn a_wrong_value_is_named_with_its_place_and_what_is_allowed() {
    let cases = [
        ("ASSISTANT_HAS_OWN_NUMBER", "yes"),
        ("LOG_LEVEL", "loud"),
        ("CONTAINER_RUNTIME", "lxc"),
        ("CONTAINER_IMAGE", "--privileged"),
        ("CONTAINER_TIMEOUT", "30"),
        ("CONTAINER_TIMEOUT", "30m"),
        ("IDLE_TIMEOUT", "-1"),
        ("MAX_CONCURRENT_CONTAINERS", "0"),
        ("MAX_CONCURRENT_CONTAINERS", "many"),
        ("ANTHROPIC_BASE_URL", "api.anthropic.com"),
        ("ANTHROPIC_BASE_URL", "ftp://host"),
        ("ANTHROPIC_BASE_URL", "https://host/?key=1"),
        ("NANOCLAW_MODEL", "two words"),
        #[cfg(not(target_os = "linux"))]
        (
            "NANOCLAW_SOCKET",
            concat!(
                "/",
                "0123456789012345678901234567890123456789012345678901/",
                "0123456789012345678901234567890123456789012345678901"
            ),
        ),
    ];
    for (name, value) in cases {
        let setting = settings::ALL.iter().find(|s| s.name == name).unwrap();
        let error = refused(&format!("{name}={value}"), &[]);
        assert!(error.starts_with(&format!("{name}=\"")) && error.contains(" in .env "), "{error}");
        assert!(error.ends_with(&format!("use {}", setting.allowed)), "{error}");
        assert!(refused("", &[(name, value)]).contains("the environment"), "{name}");
    }
    assert!(refused("", &[("ASSISTANT_NAME", "An\ndy")]).starts_with("ASSISTANT_NAME"));
    let garbled = std::os::unix::ffi::OsStringExt::from_vec(vec![b'/', 0xff]);
    let machine =
        Machine { cwd: "/".into(), user_home: Some("/root".into()), zone: None, memory: None };
    let error = Config::load_on(&machine, None, [("NANOCLAW_CLAUDE".into(), garbled)]).unwrap_err();
    assert!(matches!(error, ConfigError::Invalid { name: "NANOCLAW_CLAUDE", .. }), "{error}");
}

#[test]
fn secrets_are_in_no_error_and_no_debug_output() {
    for name in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "NANOCLAW_UPSTREAM_PROXY"] {
        let error = refused(&format!("{name}=hush hush"), &[]);
        assert!(
            error.starts_with(&format!("{name} in .env")) && !error.contains("hush"),
            "{error}"
        );
    }
    let dotenv = "ANTHROPIC_API_KEY=hush\nNANOCLAW_UPSTREAM_PROXY=http://ann:hush@proxy:8080";
    assert!(!format!("{:?}", load(dotenv, &[])).contains("hush"));
}

#[test]
fn an_api_key_goes_before_a_token_and_the_owner_is_told() {
    let token = Credential::OAuth(Secret::new("t"));
    assert_eq!(load("CLAUDE_CODE_OAUTH_TOKEN=t", &[]).credential, Some(token));
    let both = load("ANTHROPIC_API_KEY=k", &[("CLAUDE_CODE_OAUTH_TOKEN", "t")]);
    assert_eq!(both.credential, Some(Credential::ApiKey(Secret::new("k"))));
    assert_eq!(both.warnings.len(), 1);
}

#[test]
fn an_unknown_nanoclaw_name_is_an_error_that_names_the_right_one() {
    let error = refused("", &[("NANOCLAW_SOKET", "x")]);
    assert_eq!(
        error,
        "NANOCLAW_SOKET in the environment is no setting: did you mean NANOCLAW_SOCKET? docs/settings.md lists them all"
    );
    assert!(
        refused("NANOCLAW_MODLE=x", &[])
            .contains("in .env is no setting: did you mean NANOCLAW_MODEL?")
    );
    let fine = [
        ("NANOCLAW_ROOT", "/"),
        ("NANOCLAW_LABEL", "x"),
        ("CARGO_BIN_EXE_nanoclaw", "x"),
        ("PATH", "/bin"),
    ];
    assert!(load("OTHER=1", &fine).warnings.is_empty());
}

#[test]
fn what_is_passed_over_is_reported() {
    let config = load("ONECLI_URL=http://localhost:10254\nTZ=Asia/Tokyo", &[("TZ", "XYZ+3")]);
    assert_eq!(config.timezone, Tz::Asia__Tokyo);
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("XYZ+3") && config.warnings[1].contains("ONECLI_URL"));
}

#[test]
fn a_damaged_file_is_refused_with_its_path_and_line() {
    let error = refused("A=1\nsk-ant-oops", &[]);
    assert!(error.contains(".env: line 2 has no '='") && !error.contains("oops"), "{error}");
    let bench = Bench::new("");
    std::fs::remove_file(bench.0.path().join(".env")).unwrap();
    assert!(bench.load(&[]).is_ok());
    std::fs::create_dir(bench.0.path().join(".env")).unwrap();
    assert!(matches!(bench.load(&[]), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_number_of_containers_follows_the_memory() {
    assert_eq!([Some(0), Some(3 << 30), Some(64 << 30), None].map(containers_for), [1, 3, 16, 5]);
    assert_eq!(load("MAX_CONCURRENT_CONTAINERS=2", &[]).max_containers, 2);
    #[cfg(target_os = "linux")]
    assert!(Machine::look().memory.unwrap() > 64 << 20);
}
