//! The settings of one installation, read once and checked whole.
//!
//! [`Config::load`] joins the environment, `.env` and the defaults of
//! [`settings`] into plain data, or says which setting is wrong and what is
//! allowed. Nothing else in the program reads a setting. It creates no
//! directory and opens no connection. A wrong value stops the start: a daemon
//! that guesses is found out when a message is lost.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use crate::channel::pacing::Limits;
use crate::container::engine::Dialect;
use crate::db::Emoji;
use crate::ids::{Folder, Incarnation};
use crate::isolation;
use crate::prices::{Prices, parse_dollars};
use crate::proxy::{Credential, Secret};

pub mod cli;
pub mod dotenv;
mod parse;
pub mod settings;
mod values;
pub mod zone;

use parse::*;
use values::Values;

/// Everything that an owner can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The installation's directory, absolute.
    pub home: PathBuf,
    /// Of this user's settings that no agent may see, such as the mount
    /// allowlist: `~/.config/nanoclaw`.
    pub config_dir: PathBuf,
    /// `Andy` unless configured.
    pub assistant_name: String,
    /// Whether the WhatsApp number is the assistant's alone.
    pub own_number: bool,
    /// The owner's zone.
    pub timezone: Tz,
    /// The least important level that is logged.
    pub log_level: tracing::Level,
    /// Which runtime to take.
    pub runtime: RuntimeChoice,
    /// The image for runtimes that need one; [`settings::DEFAULT_IMAGE`] is built
    /// when missing.
    pub image: String,
    /// How long one turn may take.
    pub turn_timeout: Duration,
    /// How long a container lives without work.
    pub idle_timeout: Duration,
    /// How many containers may live at once; at least 1.
    pub max_containers: usize,
    /// How many turns others than the owner may begin in one chat within half an
    /// hour; 0 for any number.
    pub chat_turns: u32,
    /// How the model is paid for; none means the practice model.
    pub credential: Option<Credential>,
    /// The Messages API's base.
    pub base_url: reqwest::Url,
    /// The Unix socket of the daemon, absolute.
    pub socket: PathBuf,
    /// The Claude Code program, absolute; it need not exist.
    pub claude: PathBuf,
    /// Beneath which `nanoclaw.sh` unpacks a kernel for VMs, as in `/`.
    pub kernels: PathBuf,
    /// Whether VMs run without the help of the processor.
    pub emulate: bool,
    /// The model for groups that name none.
    pub model: Option<String>,
    /// How fast messages go out on WhatsApp; none: as they come.
    pub pace: Option<Limits>,
    /// What a day may cost in all, millionths of a dollar.
    pub budget: Option<i64>,
    /// How long the bookkeeping of what ended is kept; none for ever.
    pub keep: Option<Duration>,
    /// What tokens cost.
    pub prices: Prices,
    /// The shell command for a link that stays down.
    pub alert: Option<String>,
    /// What messages show while they are worked on and after; none: nothing.
    pub reactions: Option<Emoji>,
    /// The shell command that turns a voice note into text.
    pub transcribe: Option<String>,
    /// The server that stands in for WhatsApp.
    #[cfg(feature = "test-server")]
    pub whatsapp_test: Option<WhatsAppTest>,
    /// An `http://` or `https://` URL, checked; it may hold a password.
    pub upstream_proxy: Option<Secret>,
    /// What the owner should know although the program starts: one sentence each.
    pub warnings: Vec<String>,
}

/// The server that stands in for WhatsApp in tests.
#[cfg(feature = "test-server")]
#[derive(Clone, Debug)]
pub struct WhatsAppTest {
    /// A `ws://` address on loopback.
    pub url: String,
    /// The base of files, `http://` on loopback, without a slash at its end.
    pub media: String,
}

/// `CONTAINER_RUNTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The strongest that is ready.
    Auto,
    /// The containers of an engine.
    Engine(Dialect),
    /// QEMU.
    Microvm,
    /// Bubblewrap.
    Bwrap,
}

/// Why the settings cannot be used. Secrets are in none of the messages.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The installation's directory is missing or cannot be looked at.
    #[error(
        "NANOCLAW_HOME is {path}, which cannot be used ({source}): name a directory that exists, or start in one"
    )]
    Home {
        /// As it was understood.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing says where this user's files are.
    #[error("the home directory of this user is not known: set HOME")]
    NoUserHome,
    /// `.env` is there but cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line of `.env` makes no sense.
    #[error("{path}: {source}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Which line and why.
        source: dotenv::BadLine,
    },
    /// A setting has a value that it does not take.
    #[error("{name}{value} in {place} is not valid: use {allowed}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// `=` and the value in quotes; empty for secrets.
        value: String,
        /// `the environment`, `.env` or `the defaults`.
        place: &'static str,
        /// What it takes.
        allowed: &'static str,
    },
    /// A `NANOCLAW_` name that is no setting.
    #[error(
        "{name} in {place} is no setting: did you mean {nearest}? docs/settings.md lists them all"
    )]
    Unknown {
        /// The name as given.
        name: String,
        /// `the environment` or `.env`.
        place: &'static str,
        /// The most similar setting.
        nearest: &'static str,
    },
    /// `.env` says where `.env` is.
    #[error(
        "NANOCLAW_HOME cannot be set in .env, which is found through it: set it in the environment"
    )]
    HomeInEnvFile,
}

/// What the settings depend on besides what the owner writes.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The working directory.
    pub cwd: PathBuf,
    /// The user's home directory where `HOME` is not set.
    pub user_home: Option<PathBuf>,
    /// The system's time zone.
    pub zone: Option<String>,
    /// Bytes of memory, where known.
    pub memory: Option<u64>,
}

impl Machine {
    /// This machine.
    pub fn look() -> Machine {
        #[cfg(target_os = "linux")]
        let memory = {
            let info = rustix::system::sysinfo();
            Some(info.totalram.saturating_mul(info.mem_unit.into()))
        };
        #[cfg(not(target_os = "linux"))]
        let memory = None;
        Machine {
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            user_home: std::env::home_dir(),
            zone: zone::of_system(Path::new("/etc")),
            memory,
        }
    }
}

impl Config {
    /// Reads the settings of the installation in `home` (or, without one, where
    /// `NANOCLAW_HOME` or the working directory says). `vars` is the whole
    /// environment: `std::env::vars_os()`.
    pub fn load(
        home: Option<PathBuf>,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        Config::load_on(&Machine::look(), home, vars)
    }

    /// [`Config::load`] on a machine of which all is known.
    pub fn load_on(
        machine: &Machine,
        home: Option<PathBuf>,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        use settings::*;

        let values = Values::read(machine, home, vars)?;
        let (timezone, mut warnings) = zone::resolve(&values.given(&TZ), machine.zone.as_deref());
        warnings.extend(values.retired());

        let key = values
            .optional(&ANTHROPIC_API_KEY, one_word)?
            .map(|k| Credential::ApiKey(Secret::new(k)));
        let token = values
            .optional(&CLAUDE_CODE_OAUTH_TOKEN, one_word)?
            .map(|t| Credential::OAuth(Secret::new(t)));
        if key.is_some() && token.is_some() {
            warnings.push(
                "ANTHROPIC_API_KEY and CLAUDE_CODE_OAUTH_TOKEN are both set: the key is used"
                    .into(),
            );
        }
        let config_dir = values.user_home()?.join(".config/nanoclaw");
        let (prices, wrong) =
            Prices::from_read(std::fs::read_to_string(config_dir.join("prices.json")));
        warnings.extend(wrong);
        let memory = machine.memory;
        let max_containers =
            values.optional(&MAX_CONCURRENT_CONTAINERS, |text| number(text, 1..=256))?;

        Ok(Config {
            config_dir,
            prices,
            assistant_name: values.required(&ASSISTANT_NAME, |text| {
                one_line(text).filter(|n| n.chars().count() <= 64)
            })?,
            own_number: values.required(&ASSISTANT_HAS_OWN_NUMBER, |text| text.parse().ok())?,
            timezone,
            log_level: values.required(&LOG_LEVEL, log_level)?,
            runtime: values.required(&CONTAINER_RUNTIME, isolation::named)?,
            image: values.required(&CONTAINER_IMAGE, |text| {
                one_word(text).filter(|i| !i.starts_with('-'))
            })?,
            turn_timeout: values.required(&CONTAINER_TIMEOUT, milliseconds)?,
            idle_timeout: values.required(&IDLE_TIMEOUT, milliseconds)?,
            max_containers: max_containers.map_or_else(|| containers_for(memory), |n| n as usize),
            chat_turns: values.required(&NANOCLAW_CHAT_TURNS, |text| {
                number(text, 0..=100_000).and_then(|n| u32::try_from(n).ok())
            })?,
            credential: key.or(token),
            base_url: values.required(&ANTHROPIC_BASE_URL, base_url)?,
            socket: values.required(&NANOCLAW_SOCKET, |text| {
                values
                    .path(text)
                    .filter(|p| cfg!(target_os = "linux") || p.as_os_str().len() <= 103)
            })?,
            claude: match values.optional(&NANOCLAW_CLAUDE, |text| values.path(text))? {
                Some(path) => path,
                None => values
                    .cache()?
                    .join(format!("nanoclaw/claude-{}/claude", cli::pinned_version())),
            },
            kernels: values.cache()?.join("nanoclaw/kernel"),
            emulate: values.required(&NANOCLAW_MICROVM, |text| match text {
                "kvm" => Some(false),
                "emulate" => Some(true),
                _ => None,
            })?,
            model: values.optional(&NANOCLAW_MODEL, one_word)?,
            pace: values.required(&NANOCLAW_WHATSAPP_PACE, pace)?,
            budget: values.optional(&NANOCLAW_BUDGET, parse_dollars)?,
            keep: values.required(&NANOCLAW_KEEP_DAYS, days)?,
            alert: values.optional(&NANOCLAW_ALERT, one_line)?,
            reactions: values.required(&NANOCLAW_REACTIONS, reactions)?,
            transcribe: values.optional(&NANOCLAW_TRANSCRIBE, one_line)?,
            #[cfg(feature = "test-server")]
            whatsapp_test: whatsapp_test(&values)?,
            upstream_proxy: values.optional(&NANOCLAW_UPSTREAM_PROXY, |text| {
                http_url(text).map(|_| Secret::new(text))
            })?,
            warnings,
            home: values.home,
        })
    }

    /// Where the ledger and the channels' own storage are.
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// The keys of the WhatsApp link.
    pub fn whatsapp_store(&self) -> PathBuf {
        self.store().join("whatsapp.db")
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.store().join("messages.db")
    }

    /// One directory for each group.
    pub fn groups(&self) -> PathBuf {
        self.home.join("groups")
    }

    /// What the daemon keeps for containers, and its lock.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Where channels and the daemon exchange files.
    pub fn files(&self) -> PathBuf {
        self.data().join("files")
    }

    /// The CLI's own directory of a group.
    pub fn sessions(&self, group: &Folder) -> PathBuf {
        self.data().join("sessions").join(group.as_str()).join(".claude")
    }

    /// The mailbox of one start of a group's container.
    pub fn ipc(&self, group: &Folder, incarnation: Incarnation) -> PathBuf {
        self.data().join("ipc").join(group.as_str()).join(incarnation.to_string())
    }

    /// The daemon's log files.
    pub fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }
}

#[cfg(test)]
mod tests;
