//! Where things are in the guest, and the CLI's start-up line. Reads the
//! environment once; decides nothing about turns.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{frames, processes};
use crate::ipc::record::Start;

/// Where the agent listens for its tools' calls, as the MCP server is told.
pub const SOCKET: &str = "NANOCLAW_AGENT_SOCKET";

/// How the CLI is always started. The preflight check asks a fixed host before each
/// fetch, past our proxy.
const ARGUMENTS: &str = "-p --output-format stream-json --input-format stream-json --verbose \
    --permission-mode bypassPermissions --allow-dangerously-skip-permissions \
    --setting-sources=project,user --settings={\"skipWebFetchPreflight\":true} --strict-mcp-config";

/// Tools of the CLI that compete with ours or cannot work here: reminders that
/// would live in a container that dies, other working directories, questions and
/// plans that nobody at a terminal answers, and services of an account.
const DISALLOWED: &str = "CronCreate,CronDelete,CronList,ScheduleWakeup,Workflow,EnterWorktree,ExitWorktree,\
    DesignSync,RemoteTrigger,PushNotification,SendUserFile,SendUserMessage,\
    ShareOnboardingGuide,Artifact,AskUserQuestion,EnterPlanMode,ExitPlanMode";

/// The variables of our own environment that the CLI inherits; no other is.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "CLAUDE_CONFIG_DIR",
    "TZ",
    "LANG",
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
];

/// The machine's or the image's certificate authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The most of the global memory that goes into the system prompt, in bytes.
const MEMORY: usize = 256 * 1024;

/// The guest's paths. All lie below `NANOCLAW_ROOT`, which is empty in a
/// container and a temporary directory in tests.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    /// The Claude Code CLI.
    pub claude: PathBuf,
    /// This program.
    pub program: PathBuf,
}

/// What is needed to start a process, and nothing of its environment but this.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
}

impl Place {
    /// Reads `NANOCLAW_ROOT` and `NANOCLAW_CLAUDE`.
    pub fn from_env() -> io::Result<Place> {
        let claude = std::env::var_os("NANOCLAW_CLAUDE").ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "NANOCLAW_CLAUDE does not name the CLI")
        })?;
        Ok(Place {
            root: std::env::var_os("NANOCLAW_ROOT").unwrap_or_default().into(),
            claude: claude.into(),
            program: std::env::current_exe()?,
        })
    }

    fn at(&self, path: &str) -> PathBuf {
        // Joined as text: an absolute path would replace the root.
        let mut whole = self.root.clone().into_os_string();
        whole.push(path);
        whole.into()
    }

    /// The host's records.
    pub fn inbox(&self) -> PathBuf {
        self.at("/workspace/ipc/in")
    }

    /// Our records.
    pub fn outbox(&self) -> PathBuf {
        self.at("/workspace/ipc/out")
    }

    /// The group's folder, the CLI's working directory.
    pub fn group(&self) -> PathBuf {
        self.at("/workspace/group")
    }

    /// The host's proxy.
    pub fn proxy(&self) -> PathBuf {
        self.at("/run/nanoclaw/proxy.sock")
    }

    /// A directory for our own small files, for our eyes only.
    pub fn scratch(&self) -> PathBuf {
        self.at("/tmp/.nanoclaw")
    }

    /// Where the tools' calls come in.
    pub fn socket(&self) -> PathBuf {
        self.scratch().join("agent.sock")
    }

    /// Makes [`Place::scratch`].
    pub fn prepare(&self) -> io::Result<()> {
        let scratch = self.scratch();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch)?;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o700))
    }

    /// What is added to the CLI's own system prompt: who it is and where its
    /// answers go, then the memory that all groups share.
    pub fn system_prompt(&self, start: &Start) -> String {
        let name = &start.assistant_name;
        let mut prompt = format!(
            "You are {name}, a personal assistant whom people reach in a chat. The text that ends your turn is sent \
             to that chat as it is, so write it for a small screen: short, plain, no headings or tables. Text inside \
             <internal>...</internal> is never shown to them; when there is nothing to tell, answer with that alone."
        );
        if let Ok(bytes) = fs::read(self.at("/workspace/global/CLAUDE.md")) {
            let kept = &bytes[..bytes.len().min(MEMORY)];
            prompt.push_str("\n\n");
            prompt.push_str(&String::from_utf8_lossy(kept));
            if kept.len() < bytes.len() {
                prompt.push_str("\n\n[The rest of this memory was cut: it is too long.]");
            }
        }
        prompt
    }

    /// The CLI's start for one session. `tag` marks the session's processes and
    /// calls; `port` is the relay's.
    pub fn launch(
        &self,
        start: &Start,
        tag: &str,
        resume: Option<&str>,
        port: u16,
    ) -> io::Result<Launch> {
        let config = self.mcp_config(tag)?;
        let mut args: Vec<String> = ARGUMENTS.split_whitespace().map(str::to_owned).collect();
        args.push(format!("--mcp-config={}", config.display()));
        args.push(format!("--disallowedTools={DISALLOWED}"));
        args.extend(start.model.as_ref().map(|m| format!("--model={m}")));
        args.extend(self.extra().into_iter().map(|d| format!("--add-dir={}", d.display())));
        args.extend(resume.map(|id| format!("--resume={id}")));
        Ok(Launch {
            program: self.claude.clone(),
            args,
            env: self.environment(tag, port),
            cwd: self.group(),
        })
    }

    /// The whole environment of what runs for one session: the CLI and scripts.
    pub fn environment(&self, tag: &str, port: u16) -> Vec<(String, String)> {
        let here = format!("http://127.0.0.1:{port}");
        let mut env: Vec<(String, String)> = INHERITED
            .iter()
            .filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
        set("ANTHROPIC_BASE_URL", &here);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            set(name, &here);
        }
        set("NO_PROXY", "127.0.0.1,localhost");
        set("no_proxy", "127.0.0.1,localhost");
        set("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
        set("DISABLE_AUTOUPDATER", "1");
        set("CLAUDE_CODE_MAX_RETRIES", "4");
        set("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "165000");
        set("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1");
        if Path::new(AUTHORITIES).exists() {
            // Node trusts its own list only, and not what the owner has added.
            set("NODE_EXTRA_CA_CERTS", AUTHORITIES);
        }
        set(processes::TAG, tag);
        if rustix::process::getuid().is_root() {
            // The CLI refuses root in this mode unless it is told of a sandbox.
            // Containers give an ordinary uid; tests may run as root.
            set("IS_SANDBOX", "1");
        }
        env
    }

    /// In a file, for arguments are visible to every process.
    fn mcp_config(&self, tag: &str) -> io::Result<PathBuf> {
        let servers = json!({frames::SERVER: {
            "command": self.program,
            "args": ["mcp"],
            "env": {SOCKET: self.socket(), processes::TAG: tag},
        }});
        let path = self.scratch().join(format!("mcp-{tag}.json"));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(json!({"mcpServers": servers}).to_string().as_bytes())?;
        Ok(path)
    }

    /// The directories mounted beside the group's.
    fn extra(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at("/workspace/extra")).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> =
            entries.map(|e| e.path()).filter(|p: &PathBuf| Path::is_dir(p)).collect();
        found.sort();
        found
    }
}
