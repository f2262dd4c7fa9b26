//! Every setting once: a row of name, default, what is allowed, and what it
//! does. The defaults are read from here, `docs/settings.md` is generated from
//! here, and errors take their words from here.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As it is written in the environment and in `.env`.
    pub name: &'static str,
    /// What holds where it is not given.
    pub default: Fallback,
    /// The values that it takes: the end of "use ...".
    pub allowed: &'static str,
    /// What it does, for its reader.
    pub doc: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// What holds where a setting is not given.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This value, read as if it had been given.
    Value(&'static str),
    /// What this sentence says.
    Found(&'static str),
}

use Fallback::{Found, Value};

macro_rules! settings {
    ($($name:ident: $default:expr, $allowed:expr, $doc:expr $(, $secret:expr)?;)*) => {
        $(
            #[doc = $doc]
            pub const $name: Setting = Setting {
                name: stringify!($name),
                default: $default,
                allowed: $allowed,
                doc: $doc,
                secret: false $(|| $secret)?,
            };
        )*
        /// The table, in the order of the documentation.
        pub const ALL: &[Setting] = &[$($name),*];
    };
}

/// The image that the drivers build where they need one.
pub const DEFAULT_IMAGE: &str = "nanoclaw-agent:latest";

const SECRET: bool = true;
const MILLISECONDS: &str = "a whole number of milliseconds from 100 to 604800000 (a week)";

settings! {
    ASSISTANT_NAME: Value("Andy"), "one line of at most 64 characters",
        "The assistant's name. Groups without a trigger of their own wake it with `@` and this name; on a shared \
         number its messages begin with it.";
    ASSISTANT_HAS_OWN_NUMBER: Value("false"), "`true` or `false`",
        "Whether the WhatsApp number is the assistant's alone. Then nothing is prefixed, and what that account \
         sends counts as the assistant's.";
    TZ: Found("the system's zone, else `UTC`"), "an IANA name such as `Europe/Berlin`",
        "Your time zone: of the times that the assistant sees, and of its schedules. A value that is not valid is \
         reported and passed over.";
    LOG_LEVEL: Value("info"), "`trace`, `debug`, `info`, `warn`, `error` or `fatal` (the same as `error`)",
        "How much is logged.";
    ANTHROPIC_API_KEY: Found("none"), "the key on one line, without spaces",
        "Your key for the model. It never enters a container. It goes before the token below.", SECRET;
    CLAUDE_CODE_OAUTH_TOKEN: Found("none"), "the token on one line, without spaces",
        "The token of your own Claude subscription, instead of a key. It never enters a container.", SECRET;
    ANTHROPIC_BASE_URL: Value("https://api.anthropic.com"),
        "an `http://` or `https://` URL without user, query and fragment",
        "Where the model is: any endpoint that speaks the Messages API, one on this machine included.";
    CONTAINER_RUNTIME: Value("auto"), "`auto`, `container`, `docker`, `podman`, `microvm` or `bwrap`",
        "What isolates the agents. `auto` takes the strongest that is ready; `nanoclaw doctor` says of each what it lacks.";
    CONTAINER_IMAGE: Value(DEFAULT_IMAGE), "the name of an image",
        "The image for `container`, `docker` and `podman`: anything with glibc and a shell. `nanoclaw image build` \
         builds the default, and fetches another.";
    CONTAINER_TIMEOUT: Value("1800000"), MILLISECONDS,
        "How long one turn may take before it is interrupted.";
    IDLE_TIMEOUT: Value("1800000"), MILLISECONDS,
        "How long a container stays without work before it ends.";
    MAX_CONCURRENT_CONTAINERS: Found("one for each GiB of memory, 1 to 16; 5 where the memory is not known"),
        "a whole number from 1 to 256",
        "How many containers may live at once. A group that waits takes the place of the one that is idle longest.";
    NANOCLAW_HOME: Found("the working directory"), "an existing directory",
        "The installation: `groups/`, `store/`, `data/`, `logs/` and `.env`. From the environment only.";
    NANOCLAW_SOCKET: Value("data/nanoclaw.sock"), "a path, absolute or from `NANOCLAW_HOME`; where the system is not Linux, of at most 103 bytes when it is absolute",
        "The Unix socket for other channels and for `nanoclaw chat`.";
    NANOCLAW_CLAUDE: Found("`nanoclaw/claude-VERSION/claude` in `$XDG_CACHE_HOME`, else in `~/.cache`"),
        "a path, absolute or from `NANOCLAW_HOME`",
        "The Claude Code program. `nanoclaw.sh` fetches the one that belongs to this source.";
    NANOCLAW_MICROVM: Value("kvm"), "`kvm` or `emulate`",
        "How the VMs of `CONTAINER_RUNTIME=microvm` run: by the processor, or without its help, which works on any \
         machine and is some ten times slower. See docs/microvm.md.";
    NANOCLAW_MODEL: Found("the one that Claude Code chooses"), "a model's name, without spaces",
        "The model for groups that name none.";
    NANOCLAW_WHATSAPP_PACE: Value("20 300"),
        "two whole numbers with a space between: messages a minute in one chat, and an hour in all; 0 for no ceiling; or `off`",
        "How fast messages go out on WhatsApp. Within the ceilings there is a pause between two messages in one chat, as \
         long as somebody takes to write. `off`: neither.";
    NANOCLAW_BUDGET: Found("no limit"), "dollars, such as `5` or `2.50`",
        "What all groups together may cost a day, on your clock. At four fifths and at the end those who wait are \
         told; then work waits for midnight. `groups set FOLDER --budget` limits one group.";
    NANOCLAW_KEEP_DAYS: Value("90"), "a whole number of days up to 36500; 0 for ever",
        "How long the bookkeeping of what ended is kept: prompts, calls of tools, containers, runs of tasks. What \
         people and the assistant said stays in any case, and so does what it cost.";
    NANOCLAW_CHAT_TURNS: Value("60"), "a whole number from 0 to 100000",
        "How many turns others than you may begin in one chat within half an hour, so that two assistants that answer \
         each other end. What is written beyond it is shown with a later message, and the chat is told. 0: any number.";
    NANOCLAW_ALERT: Found("a desktop notification where there is one"), "a shell command on one line",
        "What to run when the link to WhatsApp has been down for 5 minutes. What is wrong is its last argument.";
    NANOCLAW_REACTIONS: Value("👀 ✅ ❌"), "three words with spaces between, each an emoji or `-` for none; or `off`",
        "What a message shows while the assistant works on it, when it is answered, and when it could not be.";
    NANOCLAW_TRANSCRIBE: Found("none: voice notes are not understood"), "a shell command on one line",
        "What turns a voice note into text, such as `whisper-cli -nt -m /opt/model.bin -f`. The file (Ogg Opus) is \
         its last argument, what it prints is the text. It runs without a network, for 2 minutes at most.";
    NANOCLAW_UPSTREAM_PROXY: Found("none: connections are direct"), "an `http://` or `https://` URL",
        "The proxy through which this machine reaches the internet. Other proxy variables are not read. It may \
         hold a password and is never shown.", SECRET;
}

/// For tests against our own WhatsApp server; no other build knows these.
#[cfg(feature = "test-server")]
pub const NANOCLAW_WHATSAPP_URL: Setting = Setting {
    name: "NANOCLAW_WHATSAPP_URL",
    default: Found("WhatsApp"),
    allowed: "a `ws://` address on loopback",
    doc: "The server that stands in for WhatsApp.",
    secret: false,
};
/// The base of that server's files.
#[cfg(feature = "test-server")]
pub const NANOCLAW_WHATSAPP_MEDIA: Setting = Setting {
    name: "NANOCLAW_WHATSAPP_MEDIA",
    allowed: "an `http://` address on loopback",
    ..NANOCLAW_WHATSAPP_URL
};
/// The settings that only this build knows.
#[cfg(feature = "test-server")]
const OF_TESTS: &[&str] = &[NANOCLAW_WHATSAPP_URL.name, NANOCLAW_WHATSAPP_MEDIA.name];
#[cfg(not(feature = "test-server"))]
const OF_TESTS: &[&str] = &[];

/// Names of 1.x that do nothing here, and what to do instead.
pub const RETIRED: &[(&str, &str)] = &[
    ("ONECLI_URL", "set ANTHROPIC_API_KEY: credentials are handled by this program itself"),
    ("ONECLI_API_KEY", "set ANTHROPIC_API_KEY: credentials are handled by this program itself"),
    ("CREDENTIAL_PROXY_PORT", "nothing is needed: the proxy listens where it must"),
    ("CREDENTIAL_PROXY_HOST", "nothing is needed: the proxy listens where it must"),
    (
        "MAX_MESSAGES_PER_PROMPT",
        "nothing is needed: every waiting message is shown, within the size of a prompt",
    ),
    ("CONTAINER_MAX_OUTPUT_SIZE", "nothing is needed: what a container writes is always limited"),
];

/// Names that this program gives to its own guests: no mistake of the owner when
/// they are in the environment.
const OF_GUESTS: &[&str] = &["NANOCLAW_ROOT", "NANOCLAW_LABEL"];

/// For a `NANOCLAW_` name that is no setting, the setting that it resembles
/// most.
pub fn mistaken(name: &str) -> Option<&'static str> {
    let ours = name.starts_with("NANOCLAW_") && !OF_GUESTS.contains(&name);
    if !ours || OF_TESTS.contains(&name) || ALL.iter().any(|setting| setting.name == name) {
        return None;
    }
    let own = ALL.iter().map(|setting| setting.name).filter(|known| known.starts_with("NANOCLAW_"));
    // A name of 1.x with our prefix (`NANOCLAW_TZ`) means the one without it.
    let bare = name.trim_start_matches("NANOCLAW_");
    let unprefixed = ALL.iter().map(|setting| setting.name).find(|known| *known == bare);
    unprefixed.or_else(|| own.min_by_key(|known| distance(name, known)))
}

/// Edit distance: insertions, deletions and replacements of one character.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The text of `docs/settings.md`.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Generated from the table in `src/config/settings.rs`; a test compares the two.\n\n\
         A setting comes from the environment, else from the file `.env` in `NANOCLAW_HOME` (lines `NAME=value`, \
         `#` begins a comment line), else from its default. An empty value counts as not given. A name that begins \
         with `NANOCLAW_` and is not in this list is an error.\n",
    );
    for setting in ALL {
        let default = match setting.default {
            Value(value) => format!("`{value}`"),
            Found(words) => words.to_owned(),
        };
        text += &format!(
            "\n## {}\n\n{}\n\n* Default: {default}\n* Takes: {}\n",
            setting.name, setting.doc, setting.allowed
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, documentation()).expect("docs/settings.md is writable");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == documentation(),
            "docs/settings.md differs from src/config/settings.rs. Write it anew with:\n\n    \
             UPDATE_DOCS=1 cargo test --lib config::settings\n"
        );
    }

    #[test]
    fn no_name_is_listed_twice_and_every_secret_is_marked() {
        let mut names: Vec<_> = ALL.iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let secrets: Vec<_> = ALL.iter().filter(|s| s.secret).map(|s| s.name).collect();
        assert_eq!(
            secrets,
            ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "NANOCLAW_UPSTREAM_PROXY"]
        );
    }

    #[test]
    fn a_mistaken_name_leads_to_the_nearest_right_one() {
        assert_eq!(mistaken("NANOCLAW_SOKET"), Some("NANOCLAW_SOCKET"));
        assert_eq!(mistaken("NANOCLAW_CLAUD"), Some("NANOCLAW_CLAUDE"));
        assert_eq!(mistaken("NANOCLAW_MODELS"), Some("NANOCLAW_MODEL"));
        assert_eq!(mistaken("NANOCLAW_TZ"), Some("TZ"));
        for fine in [
            "NANOCLAW_HOME",
            "NANOCLAW_ROOT",
            "NANOCLAW_LABEL",
            "NANOCLAWS",
            "CARGO_BIN_EXE_nanoclaw",
        ] {
            assert_eq!(mistaken(fine), None, "{fine}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
