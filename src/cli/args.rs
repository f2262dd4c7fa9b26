//! What can be typed, and where it goes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use super::exit::Exit;
use super::tasks::Tasks;
use super::usage::Usage;
use super::{backup, chat, doctor, explain, groups, image, start, status, tasks, usage};
use crate::agent;
use crate::config::Config;
use crate::container::mounts::Asked;
use crate::db::Speakers;
use crate::prices::parse_dollars;

/// A personal Claude assistant that you message on WhatsApp.
#[derive(Parser)]
#[command(
    name = "nanoclaw",
    version,
    max_term_width = 100,
    after_help = "Settings come from the environment or .env: see docs/settings.md.\nExit codes: 0 done, 1 failed, 2 wrong command line, 3 not found, 78 wrong settings."
)]
struct Cli {
    /// The installation's directory [default: NANOCLAW_HOME, else the working directory]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon until it is told to stop.
    Start,
    /// Talk to your assistant in this terminal, as main.
    Chat,
    /// What runs, what waits, what is wrong.
    Status(Output),
    /// Whether everything that agents need is here, and what to do where it is not.
    Doctor(Output),
    /// The image that agents of a container engine run in.
    #[command(subcommand)]
    Image(Image),
    /// The life of a message, from the ledger alone.
    Explain(Explain),
    /// Groups and the chats linked to them.
    #[command(subcommand)]
    Groups(Groups),
    /// Scheduled tasks.
    #[command(subcommand)]
    Tasks(Tasks),
    /// Link a messenger's account.
    #[cfg(feature = "whatsapp")]
    #[command(subcommand)]
    Auth(Auth),
    /// What the model was used for, and what it cost.
    Usage(Usage),
    /// Copy this installation into a new directory; the daemon may run.
    Backup {
        /// The directory, which is made.
        dir: PathBuf,
    },
    /// Restore a backup into an empty installation.
    Restore {
        /// The backup.
        dir: PathBuf,
    },
    /// Inside the container: drive Claude Code.
    #[command(hide = true)]
    Agent,
    /// Inside the container: serve the agent's tools.
    #[command(hide = true)]
    Mcp,
}

/// `nanoclaw image`.
#[derive(Subcommand)]
pub enum Image {
    /// Build the image of CONTAINER_IMAGE, or fetch it where that names another's.
    Build {
        /// With Chromium and agent-browser, for agents that use web pages.
        #[arg(long)]
        browser: bool,
    },
}

/// How to print.
#[derive(Args)]
pub struct Output {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `nanoclaw explain`.
#[derive(Args)]
pub struct Explain {
    /// The message's id; without one, the latest message.
    pub id: Option<String>,
    /// Look in this chat.
    #[arg(long, value_name = "JID")]
    pub chat: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

/// `nanoclaw auth`.
#[cfg(feature = "whatsapp")]
#[derive(Subcommand)]
pub enum Auth {
    /// Link WhatsApp by a code that the phone scans or takes.
    Whatsapp {
        /// Show a code to type on the phone with this number, country code included,
        /// instead of one to scan.
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
        /// Remove the link.
        #[arg(long, conflicts_with = "phone")]
        unlink: bool,
    },
}

/// `nanoclaw groups`.
#[derive(Subcommand)]
pub enum Groups {
    /// Add a group: a folder, and the chat that it serves.
    Add(Add),
    /// List every chat that is known, the latest activity first.
    Chats(Output),
    /// Link one more chat to a group.
    Link {
        /// The group's folder.
        folder: String,
        /// The chat: its address, a phone number, or its name.
        #[arg(value_name = "CHAT")]
        jid: String,
    },
    /// Change a group; what concerns its container holds from its next one on.
    Set(Set),
    /// List groups and their chats.
    List(Output),
    /// Forget a group. Its folder and its history stay.
    Remove {
        /// The group's folder.
        folder: String,
    },
}

/// `nanoclaw groups add`.
#[derive(Args)]
pub struct Add {
    /// Its folder under groups/: letters, digits, '-' and '_'.
    pub folder: String,
    /// The chat that it serves: its address, a phone number, or its name; may be given
    /// several times.
    #[arg(long, alias = "chat", value_name = "CHAT")]
    pub jid: Vec<String>,
    /// Its name for people [default: the folder].
    #[arg(long)]
    pub name: Option<String>,
    /// What a message must begin with [default: @ and the assistant's name].
    #[arg(long)]
    pub trigger: Option<String>,
    /// Answer every message, without a trigger.
    #[arg(long)]
    pub no_trigger: bool,
    /// Who may wake the agent besides you: known (people whom you know), everybody, me
    /// [default: known in WhatsApp groups, else everybody].
    #[arg(long, value_parser = speakers)]
    pub who: Option<Speakers>,
    /// Keep nothing of what others say among themselves.
    #[arg(long)]
    pub no_context: bool,
    /// What its agent may reach: web, api (the model alone), or domains such as
    /// example.org,example.net.
    #[arg(long, default_value = "web", value_name = "POLICY", value_parser = egress)]
    pub egress: String,
    #[command(flatten)]
    pub output: Output,
}

/// `nanoclaw groups set`.
#[derive(Args, Clone)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub struct Set {
    /// The group's folder.
    pub folder: String,
    /// Its name for people.
    #[arg(long, group = "change")]
    pub name: Option<String>,
    /// What a message must begin with; empty for @ and the assistant's name.
    #[arg(long, group = "change")]
    pub trigger: Option<String>,
    /// Whether a message must begin with the trigger.
    #[arg(long, group = "change", value_name = "BOOL")]
    pub requires_trigger: Option<bool>,
    /// Who may wake the agent besides you: known (people whom you know), everybody, me.
    #[arg(long, group = "change", value_parser = speakers)]
    pub who: Option<Speakers>,
    /// Whether what others say among themselves is kept and shown to the agent.
    #[arg(long, group = "change", value_name = "BOOL")]
    pub keep_context: Option<bool>,
    /// What its agent may reach: web, api (the model alone), or domains such as
    /// example.org,example.net.
    #[arg(long, group = "change", value_name = "POLICY", value_parser = egress)]
    pub egress: Option<String>,
    /// What its agent needs around it: vm (it waits where there is no virtual machine)
    /// or any.
    #[arg(long, group = "change", value_parser = ["vm", "any"])]
    pub isolation: Option<String>,
    /// Memory of its container in MiB; 0 for the usual 2048.
    #[arg(long, group = "change", value_name = "MIB", value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    pub memory: Option<u32>,
    /// CPUs of its container, such as 0.5; 0 for the usual 2.
    #[arg(long, group = "change", value_parser = cpus)]
    pub cpus: Option<f64>,
    /// Whether each container ends with its turn.
    #[arg(long, group = "change", value_name = "BOOL")]
    pub once: Option<bool>,
    /// The model to ask for; empty for NANOCLAW_MODEL or the CLI's own choice.
    #[arg(long, group = "change")]
    pub model: Option<String>,
    /// A directory of yours that it sees as /workspace/extra/NAME, read-only without
    /// `:rw`; once for each. All others go. Your allowlist must allow it: docs/mounts.md.
    #[arg(long, group = "change", value_name = "PATH[:NAME][:rw]", value_parser = Asked::parse)]
    pub mount: Vec<Asked>,
    /// No directory of yours any more.
    #[arg(long, group = "change", conflicts_with = "mount")]
    pub no_mounts: bool,
    /// Its own limit of a turn, milliseconds; 0 for CONTAINER_TIMEOUT.
    #[arg(long, group = "change", value_name = "MS", value_parser = timeout)]
    pub timeout: Option<i64>,
    /// What it may cost a day, dollars; `none` for no limit of its own.
    #[arg(long, group = "change", value_name = "DOLLARS", value_parser = budget)]
    pub budget: Option<Budget>,
}

/// What a group may cost a day.
#[derive(Clone, Copy, Debug)]
pub struct Budget(pub Option<i64>);

fn budget(text: &str) -> Result<Budget, String> {
    match (text, parse_dollars(text)) {
        ("none", _) => Ok(Budget(None)),
        (_, Some(limit)) => Ok(Budget(Some(limit))),
        _ => Err("use dollars such as 5 or 2.50, or none".into()),
    }
}

fn timeout(text: &str) -> Result<i64, String> {
    let allowed = |ms: &i64| *ms == 0 || crate::container::mounts::TIMEOUTS.contains(ms);
    text.parse().ok().filter(allowed).ok_or_else(|| "use 0, or 100 to 604800000 (a week)".into())
}

fn speakers(text: &str) -> Result<Speakers, String> {
    Speakers::parse(text).ok_or_else(|| "use known, everybody or me".into())
}

fn cpus(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| *n == 0.0 || (0.01..=1024.0).contains(n));
    number.ok_or_else(|| "use a number from 0.01 to 1024, or 0".into())
}

fn egress(text: &str) -> Result<String, String> {
    let domain = |d: &str| {
        d.contains('.') && d.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    if matches!(text, "web" | "api") || text.split(',').all(domain) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("use web, api, or domains with commas between, such as example.org,example.net".into())
    }
}

/// Parses the command line, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    let began = Instant::now();
    let cli = Cli::parse();
    let outcome = match &cli.command {
        // The guest's commands know no settings and bring their own runtime.
        Command::Agent => return agent::run().unwrap_or_else(complain),
        Command::Mcp => return agent::mcp::run().map_or_else(complain, |()| ExitCode::SUCCESS),
        _ => run(cli, began),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if error.is::<crate::config::ConfigError>() => {
            complain(error);
            Exit::Config.into()
        }
        Err(error) => complain(error),
    }
}

fn complain(error: anyhow::Error) -> ExitCode {
    eprintln!("nanoclaw: {error:#}");
    Exit::Failed.into()
}

fn run(cli: Cli, began: Instant) -> anyhow::Result<Exit> {
    // One thread: containers must be started by a thread that lives as long as the
    // daemon, since they end with it; the ledger has a thread of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        // Its first thread, once had, is kept: tokio panics where it wants one in vain.
        .thread_keep_alive(std::time::Duration::MAX)
        .build()?;
    let config = || -> anyhow::Result<Arc<Config>> {
        let config = Config::load(cli.home.clone(), std::env::vars_os())?;
        config.warnings.iter().for_each(|warning| eprintln!("nanoclaw: {warning}"));
        Ok(Arc::new(config))
    };
    let exit = match &cli.command {
        Command::Start => runtime.block_on(start::run(config()?, began))?,
        Command::Chat => runtime.block_on(chat::run(config()?, began))?,
        Command::Status(output) => status::run(&*config()?, output)?,
        Command::Doctor(output) => runtime.block_on(doctor::run(&*config()?, output))?,
        Command::Image(command) => runtime.block_on(image::run(&*config()?, command))?,
        Command::Explain(explain) => explain::run(&*config()?, explain)?,
        Command::Groups(command) => runtime.block_on(groups::run(&*config()?, command))?,
        Command::Backup { dir } => backup::make(&*config()?, dir)?,
        Command::Restore { dir } => backup::restore(&*config()?, dir)?,
        Command::Usage(usage) => usage::run(&*config()?, usage)?,
        Command::Tasks(command) => runtime.block_on(tasks::run(&*config()?, command))?,
        #[cfg(feature = "whatsapp")]
        Command::Auth(auth) => runtime.block_on(super::auth::run(config()?, auth))?,
        Command::Agent | Command::Mcp => Exit::Usage,
    };
    // Threads that read standard input or look up names may never end by themselves.
    runtime.shutdown_background();
    Ok(exit)
}
